"""Certificates from files to contexts of the ssl module, and whether they are good for anything.

One certificate serves all doors of a node. `load` tries it out before anybody depends on it: a handshake with itself,
in memory, must come about, with the node's own name in the certificate. So a key that belongs to another certificate, a
certificate that has expired, or one that the node's own bundle of CAs does not know, is found where it is put in place,
and not by the other nodes.

A peer's name is a DNS name of its certificate, exactly; wildcards and the common name count for nothing. Hosts are
checked by whoever dials a URL, as everywhere. Nothing is resumed: a ticket would let somebody in whose certificate has
expired meanwhile.
"""

import hashlib
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple

from kvstore import limits
from kvstore.errors import LocalError
from kvstore.security.reasons import REASONS, reason_of

ClientAuth = Literal["none", "optional", "required"]

_VERIFY: Final[dict[str, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
VERSIONS: Final[dict[str, ssl.TLSVersion]] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class BadCertificates(LocalError):
    """Files that cannot be used: says which, what is wrong, and what to do. Wrong usage: exit 2."""

    exit_code: ClassVar[int] = 2


class ServerFiles(NamedTuple):
    """What a node is given: paths of PEM files, and what it asks of its clients.

    `cert` may hold intermediate certificates behind the node's own. `ca` holds the CAs of the other nodes; those of
    clients too, unless `client_ca` names another file.
    """

    cert: str
    key: str
    ca: str
    client_ca: str
    client_auth: ClientAuth
    version_min: str

    def read(self) -> bytes:
        """What identifies their content. Raises BadCertificates for a file that cannot be read."""
        digest = hashlib.sha256()
        for path in (self.cert, self.key, self.ca, self.client_ca):
            if path:
                content = read_file(path)
                digest.update(len(content).to_bytes(8, "big") + content)
        return digest.digest()


class Contexts(NamedTuple):
    """Ready for use: at the doors of clients, at the peer port, and for dialing peers."""

    doors: ssl.SSLContext
    peers: ssl.SSLContext
    dialing: ssl.SSLContext
    names: tuple[str, ...]
    expires_s: float
    """Since 1970: when the node's own certificate ends."""
    content: bytes


def load(files: ServerFiles, node: str) -> Contexts:
    """Contexts from `files`, tried out. Raises BadCertificates. Blocks for some milliseconds."""
    before = files.read()
    doors = _server(files, files.client_ca or files.ca, _VERIFY[files.client_auth])
    peers = _server(files, files.ca, ssl.CERT_REQUIRED)
    dialing = client_context(files.ca, files.cert, files.key, version_min=files.version_min)
    dialing.check_hostname = False  # a peer's name is not that of its host; kvstore.security.peers checks it
    shown = _tried_out(peers, dialing, files)
    names = names_of(shown)
    if node not in names:
        raise BadCertificates(
            f"{files.cert}: the certificate is for {', '.join(names) or 'no name'}, and this node is {node}. "
            f"A node's certificate needs its name as a DNS name: kv cert node {node}"
        )
    if files.read() != before:
        raise BadCertificates(f"{files.cert}, {files.key}, {files.ca}: they change at this moment")
    return Contexts(doors, peers, dialing, names, ssl.cert_time_to_seconds(str(shown["notAfter"])), before)


def client_context(ca: str, cert: str, key: str, *, version_min: str = "1.3") -> ssl.SSLContext:
    """For whoever dials. Without `ca` the CAs of the system are trusted; without `cert` none is shown.

    Raises BadCertificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = VERSIONS[version_min]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if ca:
        _trust(context, ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if cert:
        _show(context, cert, key)
    return context


def names_of(peercert: Mapping[str, Any]) -> tuple[str, ...]:
    """The DNS names of a certificate as `getpeercert` tells it."""
    return tuple(str(name) for kind, name in peercert.get("subjectAltName", ()) if kind == "DNS")


def read_file(path: str) -> bytes:
    """The content of a PEM file. Raises BadCertificates."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(limits.TLS_FILE_BYTES_MAX + 1)
    except OSError as failed:
        raise BadCertificates(f"{path}: {failed.strerror or failed}") from None
    if len(content) > limits.TLS_FILE_BYTES_MAX:
        raise BadCertificates(f"{path}: has more than {limits.TLS_FILE_BYTES_MAX:,} bytes; that is no certificate")
    return content


def _server(files: ServerFiles, ca: str, verify: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[files.version_min]
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.verify_mode = verify
    _show(context, files.cert, files.key)
    _trust(context, ca)
    return context


def _show(context: ssl.SSLContext, cert: str, key: str) -> None:
    def passphrase() -> str:
        raise BadCertificates(f"{key}: the key is encrypted; give one without a passphrase, readable by its owner only")

    for path in (cert, key):
        read_file(path)  # says which one is missing
    try:
        context.load_cert_chain(cert, key, passphrase)
    except ssl.SSLError as wrong:
        if wrong.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificates(f"{key}: is not the key of the certificate in {cert}") from None
        raise BadCertificates(f"{cert}, {key}: no certificate and key in PEM ({_words(wrong)})") from None
    except (OSError, ValueError) as wrong:
        raise BadCertificates(f"{cert}, {key}: {wrong}") from None


def _trust(context: ssl.SSLContext, ca: str) -> None:
    try:
        context.load_verify_locations(cadata=read_file(ca).decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as wrong:
        raise BadCertificates(f"{ca}: no certificates of CAs in PEM ({_words(wrong)})") from None
    if not context.get_ca_certs():
        raise BadCertificates(f"{ca}: holds certificates, but none of a CA")


def _tried_out(server: ssl.SSLContext, client: ssl.SSLContext, files: ServerFiles) -> Mapping[str, Any]:
    """The node's own certificate, as the other nodes will see it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up)
    far = server.wrap_bio(up, down, server_side=True)
    waiting = [near, far]
    try:
        while waiting:
            for side in list(waiting):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                waiting.remove(side)
    except ssl.SSLError as wrong:
        why = f"{REASONS[reason_of(wrong)]} ({_words(wrong)})"
        raise BadCertificates(f"{files.cert}: not accepted by a node that trusts {files.ca}: {why}") from None
    return near.getpeercert() or {}


def _words(wrong: Exception) -> str:
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return wrong.verify_message
    return str(getattr(wrong, "reason", None) or wrong).lower().replace("_", " ")


def expires_soon(contexts: Contexts) -> bool:
    """Whether it is time to put another certificate in its place."""
    return contexts.expires_s - time.time() < limits.TLS_EXPIRY_WARNING_S

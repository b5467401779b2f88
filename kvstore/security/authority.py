"""A certificate authority for development and small installations: a CA, and certificates of nodes and of clients.

    ca.pem          ca-key.pem              the CA
    node-NAME.pem   node-NAME-key.pem       a node: its name and its hosts; for serving and for dialing
    client-NAME.pem client-NAME-key.pem     a client: its name as common name; it cannot serve, and passes for no node

Keys are ECDSA over P-256: every TLS library has it, browsers and the public CAs use it, a handshake costs a fraction of
what RSA takes, and Python, Go, Java, OpenSSL, curl and redis-cli accept it. Ed25519 would be as good, but browsers and
Windows refuse certificates of it.

Keys are written with mode 0600, certificates with 0644, each in place by one rename. The only file that knows the
library `cryptography`, an optional extra.
"""

import datetime
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from kvstore import limits
from kvstore.errors import LocalError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_DAYS: Final = 1_825
LEAF_DAYS: Final = 365
DEFAULT_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

_CA: Final = "ca"
_KEY_MODE: Final = 0o600
_CERT_MODE: Final = 0o644
# Clocks differ a little; a certificate is valid as soon as it is made.
_BEFORE: Final = datetime.timedelta(hours=1)


class CertError(LocalError):
    """A certificate that cannot be made: says why, and what to do. Wrong usage: exit 2."""

    exit_code: ClassVar[int] = 2


class Made(NamedTuple):
    """What was written, and until when it is valid."""

    cert: Path
    key: Path
    expires: datetime.datetime
    hosts: tuple[str, ...] = ()


def make_ca(directory: Path, *, days: int = CA_DAYS, force: bool = False) -> Made:
    """A new CA in `directory`, which is made if it is not there. Raises CertError, OSError."""
    _needs_library()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    cert_path, key_path = paths(directory, _CA)
    _check_days(days)
    _refuse_to_overwrite(force, cert_path, key_path)
    key = _new_key()
    # Every CA has a name of its own: two of one name in a bundle could not be told apart.
    name = _named(f"kvstore development CA {secrets.token_hex(4)}")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        _builder(name, name, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _write(cert_path, key_path, builder.sign(key, hashes.SHA256()), key)


def make_node(
    directory: Path, name: str, hosts: Sequence[str] = DEFAULT_HOSTS, *, days: int = LEAF_DAYS, force: bool = False
) -> Made:
    """A certificate of the CA in `directory` for the node called `name`, which clients reach by `hosts`: names and
    addresses. Raises CertError, OSError.
    """
    _needs_library()
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if len(hosts) > limits.CERT_HOSTS_MAX:
        raise CertError(f"{len(hosts)} hosts are given; a certificate has {limits.CERT_HOSTS_MAX} at most")
    told = list(dict.fromkeys([name, *hosts]))
    alternatives = x509.SubjectAlternativeName([_general_name(host) for host in told])
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    made = _make_leaf(directory, f"node-{name}", name, both, alternatives, days=days, force=force)
    return made._replace(hosts=tuple(told))


def make_client(directory: Path, name: str, *, days: int = LEAF_DAYS, force: bool = False) -> Made:
    """A certificate of the CA in `directory` for a client called `name`. Raises CertError, OSError."""
    _needs_library()
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _make_leaf(directory, f"client-{name}", name, usage, None, days=days, force=force)


def paths(directory: Path, stem: str) -> tuple[Path, Path]:
    """Certificate and key of `ca`, `node-NAME` or `client-NAME`."""
    return directory / f"{stem}.pem", directory / f"{stem}-key.pem"


def _make_leaf(
    directory: Path,
    stem: str,
    name: str,
    usage: "x509.ExtendedKeyUsage",
    alternatives: "x509.SubjectAlternativeName | None",
    *,
    days: int,
    force: bool,
) -> Made:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    _check_days(days)
    cert_path, key_path = paths(directory, stem)
    _refuse_to_overwrite(force, cert_path, key_path)
    ca, ca_key = _read_ca(directory)
    key = _new_key()
    signing = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    builder = (
        _builder(_named(name), ca.subject, key.public_key(), days, ca.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(signing, critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    return _write(cert_path, key_path, builder.sign(ca_key, hashes.SHA256()), key)


def _needs_library() -> None:
    """Raises CertError without it."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise CertError(
            "making certificates needs the library cryptography, which is optional: pip install 'kvstore[tls]', or pip "
            "install cryptography. Nodes that are given certificates of another CA do without it"
        ) from None


def _new_key() -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _named(name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: "x509.Name",
    issuer: "x509.Name",
    key: "ec.EllipticCurvePublicKey",
    days: int,
    at_latest: datetime.datetime | None = None,
) -> "x509.CertificateBuilder":
    from cryptography import x509

    now = _now()
    ends = now + datetime.timedelta(days=days)
    if at_latest is not None:
        if at_latest <= now:
            raise CertError("the CA has expired: make another one, and trust both while certificates are replaced")
        ends = min(ends, at_latest)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(ends)
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise CertError(f"{host!r} is neither a host name nor an address") from None


def _read_ca(directory: Path) -> "tuple[x509.Certificate, ec.EllipticCurvePrivateKey]":
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    cert_path, key_path = paths(directory, _CA)
    try:
        ca = x509.load_pem_x509_certificate(cert_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
    except FileNotFoundError as missing:
        raise CertError(f"{missing.filename}: there is no CA; make one with: kv cert ca --dir {directory}") from None
    except (ValueError, TypeError) as wrong:
        raise CertError(f"{cert_path}, {key_path}: no CA that can be read: {wrong}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertError(f"{key_path}: this CA's key is not of an elliptic curve; kv cert makes none of another kind")
    if ca.public_key() != key.public_key():
        raise CertError(f"{key_path}: is not the key of the CA in {cert_path}")
    return ca, key


def _check_days(days: int) -> None:
    if not 1 <= days <= limits.CERT_DAYS_MAX:
        raise CertError(f"{days} days: a certificate is valid for 1 to {limits.CERT_DAYS_MAX}")


def _refuse_to_overwrite(force: bool, *files: Path) -> None:
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise CertError(f"{' and '.join(there)} are there already; --force replaces them")


def _write(cert_path: Path, key_path: Path, cert: "x509.Certificate", key: "ec.EllipticCurvePrivateKey") -> Made:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    cert_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _put(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), _KEY_MODE)
    _put(cert_path, cert.public_bytes(Encoding.PEM), _CERT_MODE)
    return Made(cert_path, key_path, cert.not_valid_after_utc)


def _put(path: Path, content: bytes, mode: int) -> None:
    """In place by one rename, with its mode from the beginning: mkstemp makes files that only their owner reads."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

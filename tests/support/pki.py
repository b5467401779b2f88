"""Certificates for tests: CAs in directories of their own, good certificates and bad ones."""

import datetime
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from kvstore.security import authority
from kvstore.security.certificates import ServerFiles
from kvstore.security.client import Tls
from kvstore.security.keeper import Keeper


class Pki:
    """A CA in `directory`, and what it has signed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        authority.make_ca(directory)

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def node(self, name: str, *, age_days: int = 0) -> tuple[Path, Path]:
        """Certificate and key; with an age above 365 days an expired one."""
        with made_days_ago(age_days):
            made = authority.make_node(self.directory, name, force=True)
        return made.cert, made.key

    def client(self, name: str = "alice", *, age_days: int = 0) -> tuple[Path, Path]:
        with made_days_ago(age_days):
            made = authority.make_client(self.directory, name, force=True)
        return made.cert, made.key

    def files(self, name: str, *, client_auth: str = "optional", version_min: str = "1.3") -> ServerFiles:
        """What a node called `name` is given."""
        cert, key = self.node(name)
        return ServerFiles(str(cert), str(key), str(self.ca), "", client_auth, version_min)  # type: ignore[arg-type]

    def keeper(self, name: str, **settings: str) -> Keeper:
        return Keeper(self.files(name, **settings), name, check_s=0.05, settle_s=0.02)

    def tls(self, client: str | None = None) -> Tls:
        """For the client library."""
        cert, key = (None, None) if client is None else map(str, self.client(client))
        return Tls(str(self.ca), cert, key)

    def context(self, shown: tuple[Path, Path] | None = None, *, version_max: str | None = None) -> ssl.SSLContext:
        """For a client that trusts this CA and shows `shown`: the standard library's own, set up by nothing of ours."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself
        if shown is not None:
            context.load_cert_chain(*map(str, shown))
        if version_max == "1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


def with_passphrase(key: Path) -> bytes:
    """The key in PEM, encrypted."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    return loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )


@contextmanager
def made_days_ago(days: int) -> Iterator[None]:
    """Certificates are made as if it were so many days ago."""
    now = authority._now
    authority._now = lambda: now() - datetime.timedelta(days=days)
    try:
        yield
    finally:
        authority._now = now

"""What a client trusts and shows: files, read again when they change, so that a client outlives its certificates."""

import logging
import os
import ssl
import time
from dataclasses import dataclass
from typing import Final

from kvstore import limits
from kvstore.security.certificates import VERSIONS, BadCertificates, client_context

_log: Final = logging.getLogger("kvstore.client")


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files. `cacert`: whose certificates are trusted, those of the system without it. `cert` and `key`:
    what the client shows of itself, nothing without them. `version_min`: "1.3" or "1.2".
    """

    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    version_min: str = "1.3"

    def __post_init__(self) -> None:
        """Raises ValueError for a certificate without its key, or a key without its certificate."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together: give both cert and key, or neither")
        if self.version_min not in VERSIONS:
            raise ValueError(f"version_min is one of {', '.join(VERSIONS)}, not {self.version_min!r}")

    def context(self) -> ssl.SSLContext:
        """From the files as they are now. Raises BadCertificates."""
        return client_context(self.cacert or "", self.cert or "", self.key or "", version_min=self.version_min)


class ClientContext:
    """The context of one client. What it gives changes when the files do; new connections then use the new one."""

    def __init__(self, tls: Tls) -> None:
        """Raises BadCertificates."""
        self._tls = tls
        self._signature = self._sign()
        self._context = tls.context()
        self._looked_at = time.monotonic()

    def now(self) -> ssl.SSLContext:
        """The present one. Files that cannot be used change nothing."""
        now = time.monotonic()
        if now - self._looked_at >= limits.TLS_FILES_CHECK_S:
            self._looked_at = now
            signature = self._sign()
            if signature != self._signature:
                try:
                    self._context = self._tls.context()
                    self._signature = signature
                except BadCertificates as wrong:
                    _log.warning("certificates not taken anew: %s", wrong)
        return self._context

    def _sign(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when a file does."""
        found: list[tuple[int, int, int] | None] = []
        for path in (self._tls.cacert, self._tls.cert, self._tls.key):
            try:
                about = None if path is None else os.stat(path)
            except OSError:
                about = None
            found.append(None if about is None else (about.st_ino, about.st_mtime_ns, about.st_size))
        return tuple(found)

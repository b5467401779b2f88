"""The certificates of a node while it runs: looked at every few seconds, by content, and taken anew when they change.

New handshakes use the new ones; connections that stand go on. Files that cannot be used change nothing but a counter
and the log: the certificates that were good stay. Files that are replaced one after the other do not fit together for a
moment, so that what cannot be used is looked at once more before anything is said of it.
"""

import asyncio
import os
import ssl
import time
from contextlib import suppress
from typing import Final

import structlog

from kvstore import limits
from kvstore.looking import Looking
from kvstore.security.certificates import BadCertificates, Contexts, ServerFiles, expires_soon, load
from kvstore.security.refusals import TlsCounts

_log = structlog.get_logger("kvstore.security")
_OTHERS_READ: Final = 0o004


class Keeper(Looking):
    """Of one node. `check_s`: how often the files are looked at."""

    def __init__(
        self,
        files: ServerFiles,
        node: str,
        *,
        check_s: float = limits.TLS_FILES_CHECK_S,
        settle_s: float = limits.TLS_FILES_SETTLE_S,
    ) -> None:
        """Reads the files. Raises BadCertificates."""
        super().__init__(check_s)
        self.counts = TlsCounts()
        self._files = files
        self._node = node
        self._settle_s = settle_s
        self._now = load(files, node)
        self._refused: bytes | str | None = None  # the content, or the problem, that was complained about last
        self._say_what_is_odd()

    @property
    def contexts(self) -> Contexts:
        """Those of now."""
        return self._now

    def doors(self) -> ssl.SSLContext:
        """For clients, now."""
        return self._now.doors

    def peers(self) -> ssl.SSLContext:
        """For the peer port, now."""
        return self._now.peers

    def dialing(self) -> ssl.SSLContext:
        """For dialing peers, now."""
        return self._now.dialing

    def look_now(self) -> None:
        """Do not wait for the next time."""
        _log.info("certificates_looked_at", node=self._node)
        super().look_now()

    async def look(self) -> None:
        problem = await self._take()
        if problem is None:
            return
        await asyncio.sleep(self._settle_s)  # there is no event to wait for: somebody else writes the files
        problem = await self._take()
        if problem is None or problem[0] == self._refused:
            return
        self._refused = problem[0]
        self.counts.reloads["failed"] += 1
        _log.error(
            "certificates_not_reloaded",
            node=self._node,
            problem=problem[1],
            kept="the former ones, " + _until(self._now.expires_s),
        )

    async def _take(self) -> tuple[bytes | str, str] | None:
        """The content and what is wrong with it; None if it is in use now."""
        content: bytes | str = ""
        try:
            content = await asyncio.to_thread(self._files.read)
            if content == self._now.content:
                self._refused = None
                return None
            if content == self._refused:
                return content, ""
            loaded = await asyncio.to_thread(load, self._files, self._node)
        except BadCertificates as wrong:
            return content or str(wrong), str(wrong)
        self._now = loaded
        self._refused = None
        self.counts.reloads["ok"] += 1
        _log.info("certificates_reloaded", node=self._node, names=loaded.names, valid=_until(loaded.expires_s))
        self._say_what_is_odd()
        return None

    def _say_what_is_odd(self) -> None:
        if expires_soon(self._now):
            _log.warning("certificate_ends_soon", node=self._node, valid=_until(self._now.expires_s))
        with suppress(OSError):
            if os.stat(self._files.key).st_mode & _OTHERS_READ:
                _log.warning("key_readable_by_everybody", key=self._files.key, advice="chmod 600")


def _until(expires_s: float) -> str:
    return time.strftime("valid until %Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_s))

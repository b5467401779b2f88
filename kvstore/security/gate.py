"""The handshakes of one door: how many at once, and what becomes of each.

While too many are under way, the one that has taken longest goes: whoever is slow on purpose keeps nobody out, because
an honest handshake takes milliseconds.
"""

import asyncio
import ssl
from collections.abc import Callable

from kvstore import limits
from kvstore.errors import LocalError
from kvstore.security.reasons import CROWDED
from kvstore.security.refusals import Door, TlsCounts
from kvstore.security.stream import TlsStream


class HandshakeFailed(LocalError):
    """A TLS handshake with whom this process dialed came to nothing; the message says why."""

    exit_code = 3


class Gate:
    """Of one door. Give it to `create_server` in place of `accept`, which makes a connection's protocol."""

    def __init__(
        self,
        door: Door,
        context: Callable[[], ssl.SSLContext],
        accept: Callable[[], asyncio.BaseProtocol],
        counts: TlsCounts,
        plain_answer: Callable[[], bytes] = bytes,
    ) -> None:
        """`context` gives the certificates of now. `plain_answer` is what somebody without TLS is told."""
        self._door: Door = door
        self._context = context
        self._accept = accept
        self._counts = counts
        self._plain_answer = plain_answer
        self._pending: dict[TlsStream, None] = {}  # oldest first; the refused too, until they are gone
        self._none_left = asyncio.Event()

    def __call__(self) -> TlsStream:
        """The protocol of a new connection."""
        return TlsStream(self._context, self, server_side=True, plain_answer=self._plain_answer)

    def begun(self, stream: TlsStream) -> None:
        """See Handshakes."""
        if len(self._pending) >= limits.TLS_HANDSHAKES_PENDING_MAX:
            oldest = next(iter(self._pending))
            oldest.refuse(CROWDED)
            oldest.abort()
            self._pending.pop(oldest, None)
        self._pending[stream] = None
        self._counts.pending[self._door] = len(self._pending)

    def done(self, stream: TlsStream) -> asyncio.BaseProtocol:
        """See Handshakes."""
        self._forget(stream)
        self._counts.handshakes[self._door] += 1
        return self._accept()

    def failed(self, stream: TlsStream, reason: str, detail: str) -> None:
        """See Handshakes."""
        self._counts.refuse(self._door, reason, detail, address=address_of(stream))

    def gone(self, stream: TlsStream) -> None:
        """See Handshakes."""
        self._forget(stream)

    def _forget(self, stream: TlsStream) -> None:
        self._pending.pop(stream, None)
        self._counts.pending[self._door] = len(self._pending)
        if not self._pending:
            self._none_left.set()

    async def close(self) -> None:
        """Ends what is not done. Returns once nothing of it is left."""
        for stream in list(self._pending):
            stream.abort()
        while self._pending:
            self._none_left.clear()
            await self._none_left.wait()


class Dialing:
    """One handshake of this process with whom it dialed. `accept` makes the protocol above it."""

    def __init__(self, context: Callable[[], ssl.SSLContext], accept: Callable[[], asyncio.BaseProtocol]) -> None:
        self._accept = accept
        self._shaken = asyncio.Event()
        self._gone = asyncio.Event()
        self._problem = ""
        self.stream = TlsStream(context, self, server_side=False)
        self.reason: str | None = None
        """Why it failed, one of kvstore.security.reasons."""

    async def shaken(self) -> None:
        """Returns once it is done. Raises HandshakeFailed. If it is cancelled, nothing is left of the connection."""
        try:
            await self._shaken.wait()
            if self.reason is not None:
                await self._gone.wait()  # the other side has heard why, or has had the time to
                raise HandshakeFailed(self._problem)
        except asyncio.CancelledError:
            self.stream.abort()
            raise

    def begun(self, stream: TlsStream) -> None:
        """See Handshakes."""

    def done(self, stream: TlsStream) -> asyncio.BaseProtocol:
        """See Handshakes."""
        self._shaken.set()
        return self._accept()

    def failed(self, stream: TlsStream, reason: str, detail: str) -> None:
        """See Handshakes."""
        self.reason, self._problem = reason, detail
        self._shaken.set()

    def gone(self, stream: TlsStream) -> None:
        """See Handshakes."""
        self._gone.set()


def address_of(stream: TlsStream) -> str:
    """HOST:PORT of the other side, as far as it is known."""
    peer = stream.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

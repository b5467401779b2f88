"""TLS over a stream: to the event loop a protocol, to the protocol above it a transport. The same on every loop.

asyncio and uvloop can do this themselves, each in its own way, but neither tells who failed a handshake and why: an
error of a server's handshake goes to nobody, the alert that would say to the client what is wrong is never sent, a
protocol is made before anybody has proved who he is, and a connection that sends nothing waits for a minute. So the
handshake, its deadline and its end are here, in the open:

1. The protocol above is made when the handshake is done. Until then nothing but bytes and time is spent, both bounded.
2. Whoever fails is told by an alert, as far as he reads it, and `Handshakes` is told the reason.
3. Whoever speaks no TLS at all gets `plain_answer`, a sentence in the language of the door.
4. All that has come whole is handed up as one piece, as it would be without TLS: a request in two records is still one.
5. What waits to be sent waits in the transport below, whose bounds and signals are passed on as they are.
6. The end: our close_notify, the other side's, the end of the stream. Theirs is waited for a moment only, but it is:
   some clients (uvloop's) forget what they have not read yet when the stream ends. An end without a close_notify is an
   end too: every protocol here tells by itself whether a message came whole.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from kvstore import limits
from kvstore.security.reasons import CLOSED, GARBLED, NOT_TLS, REASONS, TIMEOUT, reason_of, sentence

_HANDSHAKE_RECORD: Final = 0x16


class Handshakes(Protocol):
    """Who looks after handshakes."""

    def begun(self, stream: "TlsStream") -> None:
        """One is under way."""

    def done(self, stream: "TlsStream") -> asyncio.BaseProtocol:
        """It is done; what goes on above it."""

    def failed(self, stream: "TlsStream", reason: str, detail: str) -> None:
        """It came to nothing: one of REASONS, and words. `gone` follows."""

    def gone(self, stream: "TlsStream") -> None:
        """The connection has ended, whatever came of it."""


class TlsStream(asyncio.Transport, asyncio.Protocol):
    """One connection. Give it to the loop as a protocol; what `done` makes gets it as its transport."""

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        handshakes: Handshakes,
        *,
        server_side: bool,
        plain_answer: Callable[[], bytes] = bytes,
    ) -> None:
        """`context` is asked when the connection begins: certificates may have changed since the door was opened."""
        super().__init__()
        self._context = context
        self._handshakes = handshakes
        self._server_side = server_side
        self._plain_answer = plain_answer
        self._loop = asyncio.get_running_loop()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._protocol: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._bytes = 0  # that have come before the handshake was done
        self._over = False  # refused: what still comes is thrown away
        self._closing = False
        self._paused = False
        self._choked = False
        self._ended = False
        self._error: Exception | None = None

    # -- for the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._timer = self._loop.call_later(limits.TLS_HANDSHAKE_S_MAX, self.refuse, TIMEOUT)
        self._ssl = self._context().wrap_bio(self._in, self._out, server_side=self._server_side)
        self._handshakes.begun(self)
        if not self._server_side and not self._over:
            self._shake()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._protocol is not None:
            self._in.write(data)
            if self._closing:
                self._throw_away()
            else:
                self._pump()
            return
        if self._server_side and not self._bytes and data[0] != _HANDSHAKE_RECORD:
            self._raw.write(self._plain_answer())
            self.refuse(NOT_TLS)
            return
        self._bytes += len(data)
        self._in.write(data)
        self._shake()

    def eof_received(self) -> bool:
        if self._protocol is None or self._closing:
            return False
        self._end()
        return not self._closing

    def pause_writing(self) -> None:
        self._choked = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._choked = False
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._in_time()
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(self._error or exc)
            elif not self._over:
                self._over = True
                self._handshakes.failed(self, CLOSED, f"{REASONS[CLOSED]}{f' ({exc})' if exc else ''}")
        finally:
            self._handshakes.gone(self)

    # -- the handshake

    def _shake(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            if self._bytes > limits.TLS_HANDSHAKE_BYTES_MAX:
                self.refuse(GARBLED)
            return
        except ssl.SSLError as wrong:
            self._flush()  # the alert
            self._refuse(reason_of(wrong), sentence(wrong))
            return
        self._in_time()
        self._flush()
        protocol = self._protocol = cast(asyncio.Protocol, self._handshakes.done(self))
        protocol.connection_made(self)
        if self._choked:
            protocol.pause_writing()
        self._pump()

    def refuse(self, reason: str) -> None:
        """Give up a handshake that is not done."""
        self._refuse(reason, REASONS[reason])

    def _refuse(self, reason: str, detail: str) -> None:
        """Say so, and wait a little for the other side to hear it: a socket that is closed while something unread
        arrives is reset, and what was sent last is lost with it.
        """
        if self._over or self._protocol is not None:
            return
        self._over = True
        self._in_time()
        self._handshakes.failed(self, reason, detail)
        if reason == TIMEOUT or not self._raw.can_write_eof():
            self._raw.abort()
            return
        self._raw.write_eof()
        self._timer = self._loop.call_later(limits.TLS_REFUSAL_S_MAX, self._raw.abort)

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- in

    def _pump(self) -> None:
        """Hand up what is there."""
        if self._paused or self._closing or self._protocol is None:
            return
        pieces: list[bytes] = []
        ended, error = False, None
        read, pending, waiting = self._ssl.read, self._ssl.pending, self._in
        try:
            while waiting.pending or pending():
                piece = read(limits.TLS_RECORD_BYTES)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as wrong:
            error = wrong
        if pieces:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if error is not None:
            self._break(error)
        elif ended:
            self._end()
        elif self._out.pending:  # an answer of TLS itself: to a change of keys
            self._flush()

    def _throw_away(self) -> None:
        """This side has closed; what counts of what comes is the end."""
        try:
            while self._in.pending or self._ssl.pending():
                if not self._ssl.read(limits.TLS_RECORD_BYTES):
                    break
            else:
                return
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            pass  # their close_notify; or there is nothing to understand any more
        self._raw.close()

    def _end(self) -> None:
        """The other side sends no more."""
        if self._ended or self._protocol is None:
            return
        self._ended = True
        if not self._protocol.eof_received():
            self.close()

    def _break(self, error: Exception) -> None:
        """Nothing that comes on this connection can be read any more."""
        if self._error is None:
            self._error = error
            self._flush()
            self._raw.abort()

    # -- for the protocol above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Also `ssl_object`, `sslcontext`, and `peercert`: the certificate of the other side, {} if it has none."""
        if name == "ssl_object":
            return self._ssl
        if name == "sslcontext":
            return self._ssl.context
        if name == "peercert":
            return self._ssl.getpeercert() or {}
        return self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol or self

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._error is not None or not data:
            return
        try:
            sent = self._ssl.write(data)
            if sent < len(data):
                left = memoryview(data)[sent:]
                while left:
                    left = left[self._ssl.write(left) :]
        except ssl.SSLError as wrong:
            self._break(wrong)
            return
        self._raw.write(self._out.read())

    def can_write_eof(self) -> bool:
        return self._raw.can_write_eof()

    def write_eof(self) -> None:
        self._notify()
        self._raw.write_eof()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._protocol is None or self._ended or self._error is not None:
            self._notify()
            self._raw.close()
            return
        self._notify()
        self._raw.resume_reading()
        self._timer = self._loop.call_later(limits.TLS_CLOSE_S_MAX, self._raw.close)

    def abort(self) -> None:
        self._closing = self._over = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._raw.resume_reading()
            if self._in.pending:
                self._loop.call_soon(self._pump)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    # -- out

    def _notify(self) -> None:
        """Our close_notify."""
        with suppress(ssl.SSLError, ValueError):  # the other side has not said it yet, or the connection is broken
            self._ssl.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._raw.write(self._out.read())

"""Answers as bytes: a head built beforehand as far as possible, and one write for head and body.

aiohttp's `web.Response` serialises a dictionary of headers for every answer, which costs more than all the rest of a
small request. The low-level server asks three things of what a handler returns: `prepare`, `write_eof` and
`keep_alive`; an Answer has these and nothing else that aiohttp looks at.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpVersion10

from kvstore import limits

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
NDJSON: Final = "application/x-ndjson"
OCTETS: Final = "application/octet-stream"
PROBLEM: Final = "application/problem+json"

# Below this, joining head and body costs less than a second write.
_JOIN_BYTES_MAX: Final = 64 << 10


class Answer:
    """A whole answer. `headers` are complete lines, each ending in CR LF, Content-Type among them."""

    __slots__ = ("about", "body", "headers", "keep_alive", "level", "outcome", "request_id", "status")

    def __init__(self, status: int, headers: bytes, body: bytes, level: str = "") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.level = level
        self.outcome = ""
        """Of an error: whether it took effect, if that means anything here. For metrics."""
        self.request_id = b""
        self.keep_alive = False
        self.about: dict[str, Any] | None = None
        """What the audit log is to be told that the request's address does not say: `keys`, and those `refused`."""

    def head(self, *, told: bool = True) -> bytes:
        """Everything before the body. `told`: say whether the connection stays open, where that is not the default."""
        return b"%bContent-Length: %d\r\n%bX-Request-Id: %b\r\n%b\r\n" % (
            _head(self.status),
            len(self.body),
            _connection(self.keep_alive) if told else b"",
            self.request_id,
            self.headers,
        )

    def write(self, transport: asyncio.Transport, *, told: bool) -> None:
        """Hands it to `transport`, whose buffer takes what the client does not read at once. `told` as above."""
        head, body = self.head(told=told), self.body
        if len(body) <= _JOIN_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Sends the answer; called by aiohttp. Raises ConnectionError when the client is gone or will not read."""
        transport = _transport(request)
        told = not self.keep_alive or request.version == HttpVersion10
        if request.method == "HEAD":
            transport.write(self.head(told=told))
        else:
            self.write(transport, told=told)
        if transport.get_write_buffer_size() > limits.HTTP_WRITE_BUFFER_BYTES_MAX:
            await _drained(request, transport)

    async def write_eof(self) -> None:
        """Nothing is left to send; called by aiohttp."""


class StreamAnswer(Answer):
    """An answer that is sent as `parts` yields it: in chunks, or, where its `length` is known beforehand, as it is.

    A failure on the way cannot change the status any more. The connection is then closed without the last chunk, which
    every client reports as a truncated body: never a short answer that looks complete.

    `close` is called in the end, also where nothing was sent because the client had gone: a generator that has not
    begun would not notice.
    """

    __slots__ = ("_close", "_length", "_parts", "stopped")

    def __init__(
        self,
        status: int,
        headers: bytes,
        parts: AsyncGenerator[bytes, None],
        level: str = "",
        *,
        length: int | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(status, headers, b"", level)
        self._parts = parts
        self.stopped: Callable[[], bool] | None = None
        """Whether nothing more of it may be told."""
        self._length = length
        self._close = close

    async def prepare(self, request: web.BaseRequest) -> None:
        try:
            async with aclosing(self._parts) as parts:
                await self._send(request, parts)
        finally:
            if self._close is not None:
                self._close()

    def abandon(self) -> None:
        """It is not sent at all."""
        if self._close is not None:
            self._close()

    async def _send(self, request: web.BaseRequest, parts: AsyncGenerator[bytes, None]) -> None:
        transport = _transport(request)
        old = request.version == HttpVersion10
        chunked = self._length is None and not old
        # Without chunks or a length only the end of the connection can mark the end of the body.
        self.keep_alive = self.keep_alive and (chunked or self._length is not None)
        size = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if self._length is not None:
            size = b"Content-Length: %d\r\n" % self._length
        told = b"" if self.keep_alive and not old else _connection(self.keep_alive)
        transport.write(
            b"%b%b%bX-Request-Id: %b\r\n%b\r\n" % (_head(self.status), size, told, self.request_id, self.headers)
        )
        if request.method == "HEAD":
            return
        async for part in parts:
            if self.stopped is not None and self.stopped():
                raise ConnectionAbortedError("nothing more of it may be told")
            if part:
                _transport(request).write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                await _drained(request, transport)
        if chunked:
            _transport(request).write(b"0\r\n\r\n")


def content_type(media_type: str) -> bytes:
    """The Content-Type line of `media_type`."""
    return b"Content-Type: %b\r\n" % media_type.encode()


def _transport(request: web.BaseRequest) -> asyncio.Transport:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    return transport


async def _drained(request: web.BaseRequest, transport: asyncio.Transport) -> None:
    """Waits until the client has taken most of what was written, for a bounded time."""
    try:
        async with asyncio.timeout(limits.HTTP_WRITE_S_MAX):
            await request.writer.drain()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client does not read its answer") from None


def _connection(keep_alive: bool) -> bytes:
    return b"Connection: keep-alive\r\n" if keep_alive else b"Connection: close\r\n"


class _Heads:
    """Status line and Date for each status, made once a second."""

    __slots__ = ("lines", "second")

    def __init__(self) -> None:
        self.second = 0
        self.lines: dict[int, bytes] = {}


_heads = _Heads()


def _head(status: int) -> bytes:
    second = int(time.time())
    if second != _heads.second:
        _heads.second = second
        _heads.lines.clear()
    line = _heads.lines.get(status)
    if line is None:
        date = formatdate(second, usegmt=True).encode()
        reason = HTTPStatus(status).phrase.encode()
        line = _heads.lines[status] = b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (status, reason, date)
    return line

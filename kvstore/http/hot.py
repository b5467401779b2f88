"""The hot path of the door: requests about single keys and batches, with nothing but a C parser between the socket and
their handlers. aiohttp costs more than such a request does.

1. What comes from the socket begins where a request begins. If it is made of whole requests, each plain and for a hot
   route, they are answered here, one after the other.
2. Anything else hands the connection over to aiohttp, with all that came, for the rest of its life: a request that has
   not come whole, another route, a header that asks for more than an answer, whatever the parser refuses. So nothing
   is ever held half here, and no request means one thing here and another there.
3. Bounds are the same: heads (rule 2), bodies (each is a part of one read), connections, idle time, answers that are
   not read.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, cast

import httptools
from aiohttp import web

from kvstore import limits
from kvstore.http.answer import Answer

_HOT: Final = {b"GET": b"/v1/kv/", b"PUT": b"/v1/kv/", b"DELETE": b"/v1/kv/", b"POST": b"/v1/batch"}
# What these say, aiohttp sees to.
_NOT_PLAIN: Final = frozenset({"transfer-encoding", "expect", "upgrade", "connection", "content-encoding"})


class _Headers:
    """As much of aiohttp's headers as handlers of hot routes ask for."""

    __slots__ = ("_by_name",)

    def __init__(self, by_name: dict[str, str]) -> None:
        self._by_name = by_name

    def get(self, name: str, default: str | None = None) -> str | None:
        return self._by_name.get(name.lower(), default)

    def getall(self, name: str, default: Sequence[str]) -> Sequence[str]:
        found = self._by_name.get(name.lower())
        return default if found is None else (found,)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._by_name


class _Content:
    """A body that has come whole."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def is_eof(self) -> bool:
        return True

    def read_nowait(self, _size: int) -> bytes:
        return self._data


class _Request:
    """As much of aiohttp's request."""

    __slots__ = ("content", "headers", "keep_alive", "method", "raw_path")

    def __init__(self, method: str, raw_path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.raw_path = raw_path
        self.headers = _Headers(headers)
        self.content = _Content(body)
        self.keep_alive = True


class _Parser:
    """Requests out of whole chunks. One for each connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._found: list[_Request] = []
        self._plain = True
        self._within = False
        self._url = b""
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    def whole(self, chunk: bytes) -> list[_Request] | None:
        """The requests that `chunk` is made of, or None for aiohttp; then this parser is of no more use."""
        self._found = []
        try:
            self._parser.feed_data(chunk)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        return self._found if self._plain and not self._within else None

    # -- called by the parser

    def on_message_begin(self) -> None:
        self._within = True
        self._url = b""
        self._headers = {}
        self._parts = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        word = name.decode("ascii", "replace").lower()
        if word in _NOT_PLAIN and not (word == "connection" and value.lower() == b"keep-alive"):
            self._plain = False
        if word in self._headers or len(name) + len(value) > limits.HTTP_HEADER_BYTES_MAX:
            self._plain = False
        self._headers[word] = value.strip(b" \t").decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        method = self._parser.get_method()
        hot = _HOT.get(method)
        if (
            hot is None
            or not self._url.startswith(hot)
            or self._parser.get_http_version() != "1.1"
            or len(self._url) > limits.HTTP_LINE_BYTES_MAX - 64
            or len(self._headers) > limits.HTTP_HEADERS_MAX // 2
        ):
            self._plain = False

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._within = False
        method = self._parser.get_method().decode("ascii")
        raw_path = self._url.decode("utf-8", "surrogateescape")
        self._found.append(_Request(method, raw_path, self._headers, b"".join(self._parts)))


class Manager(Protocol):
    """Who knows all connections."""

    async def serve(self, request: web.BaseRequest) -> Answer:
        """The answer; it never raises."""

    def hand_over(self, connection: "HotConnection", transport: asyncio.Transport, chunk: bytes) -> None:
        """aiohttp takes the connection, and `chunk` first."""

    def gone(self, connection: "HotConnection") -> None:
        """It is over."""


class HotConnection(asyncio.Protocol):
    """One connection, until it is handed over or ends. A client that goes away cancels nothing."""

    def __init__(self, manager: Manager, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = loop.time()
        self._manager = manager
        self._loop = loop
        self._parser = _Parser()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._later = b""
        self._writable: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        self._manager.gone(self)

    def data_received(self, data: bytes) -> None:
        if self._task is None:
            self._take(data)
            return
        self._later += data
        if len(self._later) > limits.HTTP_READ_BUFFER_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def _take(self, chunk: bytes) -> None:
        requests = self._parser.whole(chunk)
        if requests is not None:
            self._task = self._loop.create_task(self._answer(requests))
        elif self._transport is not None:
            self._manager.hand_over(self, self._transport, chunk)

    async def _answer(self, requests: list[_Request]) -> None:
        for request in requests:
            answer = await self._manager.serve(cast(web.BaseRequest, request))
            transport = self._transport
            if transport is None:
                break
            answer.write(transport, told=not answer.keep_alive)
            if transport.get_write_buffer_size() > limits.HTTP_WRITE_BUFFER_BYTES_MAX:
                await self._drained(transport)
            if not answer.keep_alive:
                self._later = b""
                transport.close()
                break
        self._task = None
        self.idle_since = self._loop.time()
        if self._later and self._transport is not None:
            later, self._later = self._later, b""
            self._transport.resume_reading()
            self._take(later)

    async def _drained(self, transport: asyncio.Transport) -> None:
        if self._writable is None:
            return
        try:
            await asyncio.wait_for(self._writable, limits.HTTP_WRITE_S_MAX)
        except TimeoutError:
            transport.abort()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def close(self) -> None:
        """End it if nothing is being answered."""
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()

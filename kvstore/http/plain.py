"""Plain requests, with nothing but a C parser between the socket and their handlers. aiohttp costs more than most of
these requests do.

1. What comes from the socket begins where a request begins. If it is made of whole requests, each of them plain, they
   are answered here, one after the other.
2. Anything else hands the connection over to aiohttp, with all that came, for the rest of its life: a request that has
   not come whole, a header that asks for more than an answer, whatever the parser refuses. So nothing is ever held half
   here, and no request means one thing here and another there.
3. Bounds are the same: heads (rule 2), bodies (each is a part of one read), connections, idle time, answers that are
   not read.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, cast

import httptools
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from kvstore import limits
from kvstore.http.answer import Answer

_log = structlog.get_logger("kvstore.http")

_METHODS: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"POST"})
# What these say, aiohttp sees to.
_NOT_PLAIN: Final = frozenset({"transfer-encoding", "expect", "upgrade", "connection", "content-encoding"})


class _Headers:
    """As much of aiohttp's headers as handlers ask for."""

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
        data, self._data = self._data, b""
        return data

    async def readany(self) -> bytes:
        return self.read_nowait(-1)


class _Request:
    """As much of aiohttp's request, too. `protocol` and `writer` are its connection."""

    __slots__ = ("content", "headers", "keep_alive", "method", "protocol", "raw_path", "writer")

    version = HttpVersion11

    def __init__(
        self, connection: "PlainConnection", method: str, raw_path: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.protocol = self.writer = connection
        self.method = method
        self.raw_path = raw_path
        self.headers = _Headers(headers)
        self.content = _Content(body)
        self.keep_alive = True

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once the client is gone."""
        return self.protocol.transport


class _Parser:
    """Requests out of whole chunks. One for each connection."""

    def __init__(self, connection: "PlainConnection") -> None:
        self._connection = connection
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
        if (
            self._parser.get_method() not in _METHODS
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
        self._found.append(_Request(self._connection, method, raw_path, self._headers, b"".join(self._parts)))


class Manager(Protocol):
    """Who knows all connections."""

    async def serve(self, request: web.BaseRequest) -> Answer:
        """The answer; it never raises."""

    def came(self, connection: "PlainConnection", transport: asyncio.Transport) -> bool:
        """It stands. False if it is not let in, and was given to somebody else."""

    def hand_over(self, connection: "PlainConnection", transport: asyncio.Transport, chunk: bytes) -> None:
        """aiohttp takes the connection, and `chunk` first."""

    def gone(self, connection: "PlainConnection") -> None:
        """It is over."""


class PlainConnection(asyncio.Protocol):
    """One connection, until it is handed over or ends. A client that goes away cancels nothing."""

    def __init__(self, manager: Manager, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = loop.time()
        self.address: str | None = None
        self._manager = manager
        self._loop = loop
        self._parser = _Parser(self)
        self.transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._later = b""
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        if self._manager.came(self, transport):
            self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.resume_writing()
        self._manager.gone(self)

    def data_received(self, data: bytes) -> None:
        if self._task is None:
            self._take(data)
            return
        self._later += data
        if len(self._later) > limits.HTTP_READ_BUFFER_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _take(self, chunk: bytes) -> None:
        requests = self._parser.whole(chunk)
        if requests is not None:
            self._task = self._loop.create_task(self._answer(requests))
        elif self.transport is not None:
            self._manager.hand_over(self, self.transport, chunk)

    async def _answer(self, requests: list[_Request]) -> None:
        for request in requests:
            answer = await self._manager.serve(cast(web.BaseRequest, request))
            try:
                await answer.prepare(cast(web.BaseRequest, request))
            except ConnectionError:  # the client is gone, or does not read; or a stream that cannot go on
                answer.keep_alive = False
            except Exception:
                _log.exception("stream_failed", method=request.method, path=request.raw_path)
                answer.keep_alive = False
            if not answer.keep_alive:
                self._later = b""
                if self.transport is not None:
                    self.transport.close()
                break
        self._task = None
        self.idle_since = self._loop.time()
        if self._later and self.transport is not None:
            later, self._later = self._later, b""
            self.transport.resume_reading()
            self._take(later)

    async def drain(self) -> None:
        """Returns once the client has taken most of what was written."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def close(self) -> None:
        """End it if nothing is being answered."""
        if self._task is None and self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """End it."""
        if self.transport is not None:
            self.transport.abort()

"""Who is connected: how many at most, for how long in silence, and how all of them end."""

import asyncio
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from aiohttp import web

from kvstore import limits
from kvstore.addresses import Addresses
from kvstore.http.answer import Answer
from kvstore.http.plain import PlainConnection
from kvstore.refusal import Refusal

_SWEEP_S: Final = 5.0

_CONNECTION_BOUNDS: Final[dict[str, Any]] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": limits.HTTP_IDLE_S_MAX,
    "lingering_time": limits.HTTP_LINGER_S_MAX,
    "max_field_size": limits.HTTP_HEADER_BYTES_MAX,
    "max_headers": limits.HTTP_HEADERS_MAX,
    "max_line_size": limits.HTTP_LINE_BYTES_MAX,
    "read_bufsize": limits.HTTP_READ_BUFFER_BYTES,
}


class Server(Protocol):
    """What answers their requests."""

    async def serve(self, request: web.BaseRequest) -> Answer:
        """The answer; it never raises."""

    def malformed(self, request: web.BaseRequest, status: int, failed: BaseException | None) -> Answer:
        """The answer to what is no request; the connection ends with it."""

    def too_many_connections(self, of_one_address: int | None = None) -> bytes:
        """A whole answer for a connection beyond the bound, or beyond that of one address."""

    def lost(self, connection: asyncio.BaseProtocol) -> None:
        """A client is gone."""


class Connections:
    """All connections. Each begins with plain requests, and goes on with aiohttp where that has to be."""

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        per_address: int = limits.HTTP_CONNECTIONS_PER_ADDRESS_MAX,
    ) -> None:
        self.addresses = Addresses(per_address)
        self.serve = server.serve
        self._server = server
        self._loop = loop
        self._plain: set[PlainConnection] = set()
        self._aiohttp = _Aiohttp(server, self, loop)
        self._none_left = asyncio.Event()
        self._refusals: set[asyncio.Transport] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._plain) + len(self._aiohttp.connections)

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        if len(self) >= limits.HTTP_CONNECTIONS_MAX:
            return Refusal(self._server.too_many_connections(), self._refusals)
        connection = PlainConnection(self, self._loop)
        self._plain.add(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)
        return connection

    # -- called by connections

    def came(self, connection: PlainConnection, transport: asyncio.Transport) -> bool:
        """One stands; False if its address has too many, and it was refused."""
        connection.address = self.addresses.came(transport)
        if connection.address is not None:
            return True
        self._plain.discard(connection)
        refusal = Refusal(self._server.too_many_connections(self.addresses.most), self._refusals)
        transport.set_protocol(refusal)
        refusal.connection_made(transport)
        return False

    def hand_over(self, connection: PlainConnection, transport: asyncio.Transport, chunk: bytes) -> None:
        """aiohttp takes the connection, and `chunk` first."""
        handler = _Connection(self._server, self._aiohttp, self._loop, connection.address)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        self._plain.discard(connection)
        handler.data_received(chunk)

    def gone(self, connection: PlainConnection | None = None) -> None:
        """One is over."""
        if connection is not None:
            self._plain.discard(connection)
            self.addresses.gone(connection.address)
            self._server.lost(connection)
        if not len(self):
            self._none_left.set()

    def _sweep(self) -> None:
        """aiohttp does the same for its own."""
        silent_since = self._loop.time() - limits.HTTP_IDLE_S_MAX
        for connection in list(self._plain):
            if connection.idle_since < silent_since:
                connection.close()
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep) if self._plain else None

    # -- the end

    async def close(self, drain_s: float, shutdown_s: float) -> None:
        """Nobody connects any more. What is idle after `drain_s` is closed, the rest at the latest after `shutdown_s`
        more.
        """
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self.drained(drain_s)
        self._aiohttp.pre_shutdown()
        for connection in list(self._plain):
            connection.close()
        until = self._loop.time() + shutdown_s
        await self._aiohttp.shutdown(shutdown_s)
        await self.drained(max(until - self._loop.time(), 0.0))
        for connection in list(self._plain):
            connection.abort()
        for refusal in list(self._refusals):
            refusal.abort()

    async def drained(self, timeout_s: float) -> None:
        """Returns once no connection is left, or after `timeout_s`."""
        if len(self):
            self._none_left.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), timeout_s)


class _Aiohttp(web.Server):
    """aiohttp's low-level server, for the connections that it has."""

    def __init__(self, server: Server, all_connections: Connections, loop: asyncio.AbstractEventLoop) -> None:
        # What aiohttp asks of an answer is more than StreamResponse's name: see kvstore.http.answer.
        super().__init__(cast(Any, server.serve), handler_cancellation=False, loop=loop)
        self.all_connections = all_connections

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.all_connections.gone()


class _Connection(web.RequestHandler):
    """aiohttp's connection, whose own errors are answered in our form."""

    __slots__ = ("_address", "_all", "_server")

    def __init__(
        self, server: Server, manager: "_Aiohttp", loop: asyncio.AbstractEventLoop, address: str | None
    ) -> None:
        super().__init__(manager, loop=loop, **_CONNECTION_BOUNDS)
        self._all = manager.all_connections
        self._address = address
        self._server = server

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._all.addresses.gone(self._address)
        self._server.lost(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return cast(web.StreamResponse, self._server.malformed(request, status, exc))

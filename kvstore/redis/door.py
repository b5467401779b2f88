"""The Redis door: listening, counting connections, ending cleanly."""

import asyncio
import socket
from collections.abc import Callable, Collection
from typing import Final, cast

from kvstore import limits
from kvstore.addresses import Addresses
from kvstore.guard.gate import Gate
from kvstore.redis.commands import COMMANDS
from kvstore.redis.connection import Connection
from kvstore.redis.replies import RESP2, encode, error
from kvstore.redis.services import Services
from kvstore.redis.session import Session
from kvstore.redis.store import NodeStore
from kvstore.refusal import Refusal
from kvstore.security.gate import Gate as TlsGate
from kvstore.security.keeper import Keeper
from kvstore.telemetry.metrics import Metrics, RedisMeter

_FULL_ADDRESS: Final = error("OVERLOADED", "this address has as many connections open as one may")
_FULL: Final = encode(error("OVERLOADED", f"{limits.REDIS_CONNECTIONS_MAX} connections are open already"), RESP2)
_NOT_TLS: Final = encode(error("ERR", "this port speaks TLS and nothing else"), RESP2)


class RedisServer:
    """Serves `store` at `listen`, a host and a port (0 for a free one); by TLS and nothing else, if there is `tls`."""

    def __init__(
        self,
        store: NodeStore,
        metrics: Metrics,
        *,
        listen: tuple[str, int],
        gate: Gate | None = None,
        tls: Keeper | None = None,
        per_address: int = limits.REDIS_CONNECTIONS_PER_ADDRESS_MAX,
        shutdown_s: float = limits.REDIS_SHUTDOWN_S_MAX,
        drain_s: float = limits.REDIS_DRAIN_S_MAX,
    ) -> None:
        self._store = store
        self._gate = gate or Gate(store)
        self._meter = RedisMeter(metrics)
        self._listen = listen
        self._tls = tls
        self._tls_gate: TlsGate | None = None
        self._addresses = Addresses(per_address)
        self._shutdown_s = shutdown_s
        self._drain_s = drain_s
        self._services: Services | None = None
        self._listener: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._refusals: set[asyncio.Transport] = set()
        self._changed: asyncio.Event = asyncio.Event()
        metrics.watch("kv_redis_connections", lambda: len(self._connections))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; the real port when 0 was asked for. Raises RuntimeError before start."""
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    def sessions(self) -> Collection[Session]:
        """Of all connections."""
        return [connection.session for connection in self._connections]

    async def start(self) -> None:
        """Listens. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        table = {command.name: command for command in COMMANDS}
        self._services = Services(self._store, loop, self._meter, table, self, self._gate)
        accept: Callable[[], asyncio.BaseProtocol] = self._accept
        if self._tls is not None:
            accept = self._tls_gate = TlsGate("redis", self._tls.doors, accept, self._tls.counts, lambda: _NOT_TLS)
        host, port = self._listen
        self._listener = await loop.create_server(accept, host, port, backlog=limits.REDIS_BACKLOG_CONNECTIONS)
        self._services.port = self.address[1]

    def _accept(self) -> asyncio.Protocol:
        services = self._services
        assert services is not None
        if len(self._connections) >= limits.REDIS_CONNECTIONS_MAX or services.draining:
            services.refused_total += 1
            return Refusal(_FULL, self._refusals)
        services.connections_total += 1
        return _Counted(services, self._connections, self._changed, self._addresses)

    async def close(self) -> None:
        """Stops listening, and ends each connection once what it was asked is answered.

        For `drain_s`, what comes is refused, so that nobody's command is lost on its way without a word; then whoever
        is idle is cut off. What is being carried out has `shutdown_s`.
        """
        services, listener = self._services, self._listener
        if services is None or listener is None or services.draining:
            return
        services.draining = True
        listener.close()
        if self._tls_gate is not None:
            await self._tls_gate.close()
        for connection in list(self._connections):
            if connection.session.subscriptions:
                connection.end(error("SHUTTINGDOWN", "this node stops: subscribe at another one"))
        await self._until(self._drain_s)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._shutdown_s
        while self._connections and loop.time() < deadline:
            for connection in list(self._connections):
                if connection.idle:
                    connection.end()
            await self._until(min(0.05, deadline - loop.time()))
        for connection in list(self._connections):
            connection.abort()
        for refusal in list(self._refusals):
            refusal.abort()
        await listener.wait_closed()

    async def _until(self, timeout_s: float) -> None:
        """Returns once no connection is left, or after `timeout_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._connections and loop.time() < deadline:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - loop.time())
            except TimeoutError:
                return


class _Counted(Connection):
    """A connection that the door knows of while it is open."""

    def __init__(
        self, services: Services, open_: set[Connection], changed: asyncio.Event, addresses: Addresses
    ) -> None:
        super().__init__(services, self._forget)
        self._addresses = addresses
        self._address: str | None = None
        self._open = open_
        self._changed = changed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        end = cast(asyncio.Transport, transport).get_extra_info("socket")
        if end is not None:
            # A peer that has vanished without a word must not keep its place for ever.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._open.add(self)
        self._address = self._addresses.came(transport)
        if self._address is None:
            self.services.refused_total += 1
            self.end(_FULL_ADDRESS)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._addresses.gone(self._address)
        self._changed.set()

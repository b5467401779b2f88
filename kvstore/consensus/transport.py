"""The network between peers: one TCP connection for each direction, and nothing that outlives a connection.

Every node listens, and dials every other node for as long as that is a peer. `send` goes out on the connection that
this node dialed; what a peer says comes in on the one that the peer dialed (kvstore.consensus.links).

1. Messages of one connection arrive in the order in which they were sent; what was on a connection that broke is gone.
2. When a peer connects anew, its former connection is cut first: none of its frames is delivered after the new one's.
3. Bytes that are no valid frame end their connection, are counted and logged, and raise nothing.
4. Nothing waits without a bound: dialing, handshakes, unacknowledged bytes in the kernel, the outgoing buffer.
5. `TransportEvents` run on the event loop, never inside `send`, and not at all once `close` has begun.

Protocols and callbacks, not streams and tasks: tens of thousands of messages a second pass through here.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from kvstore import limits
from kvstore.consensus import wire
from kvstore.consensus.engine import Peer, TransportEvents
from kvstore.consensus.links import CallLater, Hub, Incoming, Outgoing, RepeatLog, Timer, TransportStats
from kvstore.consensus.messages import Message
from kvstore.security.peers import PeerTls

Address = tuple[str, int]
NOBODY: Final[Mapping[str, Address]] = {}


class PeerTransport:
    """The Transport of a real node (kvstore.consensus.engine). Everything runs on the loop that `start` runs on."""

    def __init__(
        self,
        *,
        hello: Peer,
        cluster_id: str,
        events: TransportEvents,
        authorise: Callable[[Peer], str | None],
        listen: Address | None = None,
        peers: Mapping[str, Address] = NOBODY,
        stranger: Callable[[Peer], bool] = lambda _peer: False,
        has_log: Callable[[], bool] = lambda: True,
        call_later: CallLater | None = None,
        rng: random.Random | None = None,
        tls: PeerTls | None = None,
    ) -> None:
        """`listen` may name port 0 (see `address`), or be None for a node that nobody dials before `listen` is called.
        `peers` are the others.

        `authorise` says why a peer is refused, or None; it judges those who dial and those who are dialed.
        `stranger` says whether to let in one of this cluster whom nobody has added; it may add the peer itself.
        `has_log` is told in every handshake. `call_later` stands in for the loop's own, `rng` for the chance that
        spreads out dialing. With `tls`, nothing is said or heard without it. Raises ValueError if `hello` breaks the
        bounds of a handshake.
        """
        greeting = wire.checked(
            wire.Hello(
                wire.PROTOCOL_VERSION,
                cluster_id,
                hello.name,
                hello.identity,
                hello.incarnation,
                hello.http,
                hello.address,
                features=hello.features,
                calls=hello.calls,
            )
        )
        later = call_later or _loop_call_later
        self._hub = Hub(greeting, events, authorise, stranger, has_log, later, RepeatLog(hello.name), tls)
        self._gate = None if tls is None else tls.gate(self._accept)
        self._ready = self._hub.ready
        self._rng = rng or random.Random()
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._dialers: dict[str, _Dialer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        for name, address in peers.items():
            self.add_peer(name, address)

    @property
    def stats(self) -> TransportStats:
        """Counters since the start."""
        return self._hub.stats

    @property
    def address(self) -> Address | None:
        """Where this node listens, with the real port; None before `start`, after `close` and without a port."""
        if self._server is None:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    @property
    def listens(self) -> bool:
        """Whether peers can dial this node."""
        return self._server is not None

    async def listen(self, host: str, port: int) -> None:
        """Let peers in at this address from now on, unless they are already. Raises OSError if it cannot be had."""
        if self._server is not None or self._hub.closing:
            return
        server = await asyncio.get_running_loop().create_server(self._gate or self._accept, host, port)
        if self._hub.closing:
            server.close()
        else:
            self._server = server

    def _accept(self) -> Incoming:
        return Incoming(self._hub, "")

    async def start(self) -> None:
        """Listen and begin to dial. Raises OSError if the port cannot be had."""
        if self._listen is not None:
            await self.listen(*self._listen)
        self._started = True
        for dialer in self._dialers.values():
            dialer.dial()

    async def close(self) -> None:
        """Stop listening and dialing and cut every connection; no task, timer or socket is left. May be repeated."""
        self._hub.closing = True
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._gate is not None:
            await self._gate.close()
        for dialer in self._dialers.values():
            dialer.stop()
        self._dialers.clear()
        for link in list(self._hub.links):
            link.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._hub.links:
            await self._hub.drained.wait()
        if server is not None:
            await server.wait_closed()

    def add_peer(self, name: str, address: Address) -> None:
        """Let `name` in, and dial it at `address` from now on, in place of any former address of it."""
        if name == self._hub.hello.name:
            raise ValueError(f"{name} is this node itself")
        former = self._dialers.get(name)
        if former is not None:
            if former.address == address:
                return
            former.stop()
        self._hub.known.add(name)
        dialer = self._dialers[name] = _Dialer(self._hub, name, address, self._tasks, self._rng)
        if self._started and not self._hub.closing:
            dialer.dial()

    def drop_peer(self, name: str) -> None:
        """Cut both connections of `name` and let it in no more."""
        self._hub.known.discard(name)
        dialer = self._dialers.pop(name, None)
        if dialer is not None:
            dialer.stop()
        incoming = self._hub.incoming.get(name)
        if incoming is not None:
            incoming.cut()

    def send(self, peer: str, message: Message) -> bool:
        """See Transport.send. Raises wire.FrameTooLong for a message that no peer would accept."""
        link = self._ready.get(peer)
        if link is None:
            return False
        frame = wire.encode_message(message)
        transport = link.transport
        if transport.is_closing():
            return False
        size = len(frame)
        stats = self._hub.stats
        if transport.get_write_buffer_size() + size > limits.PEER_BUFFER_BYTES_MAX:
            stats.buffers_overrun += 1
            self._hub.log.trouble("peer_buffer_overrun", peer)
            link.cut()
            return False
        transport.write(frame)
        stats.frames_out += 1
        stats.bytes_out += size
        return True

    def peer(self, name: str) -> Peer | None:
        link = self._ready.get(name)
        return None if link is None else link.peer


class _Dialer:
    """Keeps one outgoing connection to one peer for ever: dials, waits a little longer after each failure, dials."""

    def __init__(
        self, hub: Hub, name: str, address: Address, tasks: set[asyncio.Task[None]], rng: random.Random
    ) -> None:
        self.name = name
        self._rng = rng
        self.address = address
        self.stopped = False
        self._hub = hub
        self._tasks = tasks
        self._link: Outgoing | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None  # of the dialing, or of the pause before it
        self._pause_s = limits.PEER_REDIAL_S_MIN
        self._connected_at: float | None = None

    def dial(self) -> None:
        """Try once. Whatever comes of it ends in `_dialed`, and in `lost` if there was a connection."""
        self._task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(self._task)
        self._timer = self._hub.call_later(limits.PEER_DIAL_S_MAX, self._task.cancel)
        self._task.add_done_callback(self._dialed)

    async def _connect(self) -> None:
        if self._hub.tls is None:
            await asyncio.get_running_loop().create_connection(self._outgoing, *self.address)
        else:
            # The handshake, in which the peer's process has to do something, has a bound of its own.
            await self._hub.tls.dial(*self.address, self._outgoing, self._cancel_timer, self.name)

    def _outgoing(self) -> Outgoing:
        return Outgoing(self._hub, self)

    def _dialed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._task = None
        self._cancel_timer()
        problem = "timed out" if task.cancelled() else task.exception()
        if problem is None:
            self._hub.log.well("peer_dial_failed", self.name)
        elif not self.stopped:
            self._hub.log.trouble("peer_dial_failed", self.name, address=self.address, problem=str(problem))
        if self._link is None:
            self._pause()

    def opened(self, link: Outgoing) -> None:
        self._link = link

    def connected(self, link: Outgoing, peer: Peer) -> None:
        self._hub.stats.reconnects += self._connected_at is not None
        self._connected_at = asyncio.get_running_loop().time()
        for trouble in ("peer_refuses_us", "peer_handshake_refused", "peer_handshake_late"):
            self._hub.log.well(trouble, self.name)
        self._hub.log.change("peer_connected", self.name, incarnation=peer.incarnation)
        self._hub.events.peer_connected(peer)

    def lost(self, link: Outgoing) -> None:
        self._link = None
        # One that lasted is no failure; one that is ended as soon as it stands must not be dialed in a tight loop.
        if link.peer is not None and self._connected_at is not None:
            lasted_s = asyncio.get_running_loop().time() - self._connected_at
            if lasted_s > limits.PEER_REDIAL_S_MAX:
                self._pause_s = limits.PEER_REDIAL_S_MIN
        self._pause()

    def stop(self) -> None:
        """Never dial again, and cut what there is."""
        self.stopped = True
        self._cancel_timer()
        if self._task is not None:
            self._task.cancel()
        if self._link is not None:
            self._link.cut()

    def _pause(self) -> None:
        if self.stopped or self._timer is not None or self._task is not None:
            return
        pause_s = self._pause_s * self._rng.uniform(0.5, 1.0)
        self._pause_s = min(self._pause_s * 2, limits.PEER_REDIAL_S_MAX)
        self._timer = self._hub.call_later(pause_s, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self.dial()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _loop_call_later(delay_s: float, callback: Callable[[], Any]) -> Timer:
    return asyncio.get_running_loop().call_later(delay_s, callback)

"""A network in memory, for the transport of real nodes (kvstore.consensus.transport) on `SimLoop`s.

It carries streams of bytes as TCP does: in order, each way with a delay of its own, or not at all. What it models:

- **delay**: every piece takes `delay_s` (lowest, highest), now and then `spike_s`; from a to b `extra_s[a, b]` more,
  if that is set. Pieces never overtake each other.
- **block(a, b)**: nothing gets from a to b. What is under way is not lost but stalls, and is released late when the
  block ends, as retransmissions are. A stall of SILENCE_S_MAX ends the connection at both ends with ETIMEDOUT.
  Partitions of every shape, one-way ones too, are sets of blocks.
- **reset(a, b)**: a connection breaks; everything in flight on it, both ways, is lost; both ends are told.
- **process_ended(host)**: the kernel closes the sockets: what was written may still arrive (the seed decides), then the
  other side sees the end. Dialing is refused.
- **power_lost(host)**: nobody is told. What is on the wire arrives; then silence, until the other side writes to the
  host after it is up again (reset) or SILENCE_S_MAX has passed.

Nothing is delivered across a reconnect: a new connection is a new object.
"""

import asyncio
import errno
import hashlib
import os
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from kvstore.testing.sim_loop import SimLoop, VirtualTime

SILENCE_S_MAX: Final = 5.0
RETRANSMIT_S_MAX: Final = 0.4


class _Socket:
    """What the transport tunes; there is nothing to tune here."""

    def setsockopt(self, *_arguments: Any) -> None:
        """Accepted."""


_SOCKET: Final = _Socket()


class _Server:
    """What create_server answers."""

    def __init__(self, network: "SimNetwork", address: tuple[str, int]) -> None:
        self._network = network
        self._address = address

    @property
    def sockets(self) -> "list[_Server]":
        """One, which knows its address."""
        return [self]

    def getsockname(self) -> tuple[str, int]:
        """Host and port."""
        return self._address

    def close(self) -> None:
        """Listen no more."""
        self._network.listeners.pop(self._address[0], None)

    async def wait_closed(self) -> None:
        """Nothing to wait for."""


class SimStream(asyncio.Transport):
    """One end of a connection. `other` is the other end; `flight` is what goes there."""

    other: "SimStream"

    def __init__(self, network: "SimNetwork", loop: SimLoop, host: str) -> None:
        super().__init__()
        self.network = network
        self.loop = loop
        self.host = host
        self.protocol: asyncio.Protocol | None = None  # until it was accepted
        self.flight: deque[tuple[float, bytes | None]] = deque()  # None: the end of the stream
        self.flight_bytes = 0
        self.armed = False
        self.closed = False  # this end writes and hears nothing any more
        self.silent_since: float | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed:
            return
        if self.other.loop is not self.network.hosts.get(self.other.host):
            self.network.reset_later(self)  # the process at the other end is not there any more
            return
        self._put(bytes(data))

    def _put(self, data: bytes | None) -> None:
        network = self.network
        due = network.time.now + network.delay() + network.extra_s.get((self.host, self.other.host), 0.0)
        if self.flight and self.flight[-1][0] > due:
            due = self.flight[-1][0]
        self.flight.append((due, data))
        if data is not None:
            self.flight_bytes += len(data)
        network.arm(self)

    def get_write_buffer_size(self) -> int:
        return self.flight_bytes

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _SOCKET if name == "socket" else default

    def close(self) -> None:
        """Send what was written, then the end."""
        if not self.closed:
            self._put(None)
            self.lose(None)

    def abort(self) -> None:
        """End it now; what was written may still arrive."""
        if not self.closed:
            self.lose(None)
            self.network.hang_up(self)

    def lose(self, error: Exception | None) -> None:
        """The connection is gone, for this end."""
        if not self.closed:
            self.closed = True
            if self.protocol is not None:
                self.loop.call_soon(self.protocol.connection_lost, error)

    def hear(self, data: bytes) -> None:
        """Bytes arrived."""
        if not self.closed and self.protocol is not None:
            self.protocol.data_received(data)

    def heard_end(self) -> None:
        """The other end has closed the stream."""
        if not self.closed:
            self.closed = True
            self.flight.clear()
            if self.protocol is not None:
                self.protocol.connection_lost(None)


class SimNetwork:
    """All hosts and connections. Hosts are names; a host is up while `hosts` holds the loop of its process."""

    def __init__(self, time: VirtualTime, rng: random.Random) -> None:
        self.time = time
        self.hosts: dict[str, SimLoop] = {}
        self.listeners: dict[str, Callable[[], asyncio.Protocol]] = {}
        self.powered_off: set[str] = set()
        self.delay_s = (0.0002, 0.002)
        self.spike_s = (0.01, 0.15)
        self.spike_chance = 0.0
        self.extra_s: dict[tuple[str, str], float] = {}
        self.release_s_max = RETRANSMIT_S_MAX  # how late what stalled is released at most
        self.streams: dict[SimStream, None] = {}  # every end that may still get or send something
        self.delivered_total = 0
        self.lost_total = 0
        self.trace: Callable[[str, str, bytes], None] | None = None
        self._blocked: dict[tuple[str, str], float] = {}
        self._rng = rng
        self._own = SimLoop(time, name="network")  # type: ignore[abstract]

    # -- faults

    def block(self, source: str, target: str) -> None:
        """Nothing gets from `source` to `target` any more."""
        self._blocked.setdefault((source, target), self.time.now)
        for stream in self.streams:
            if (stream.host, stream.other.host) in ((source, target), (target, source)):
                self._watch_silence(stream)

    def heal(self, source: str, target: str) -> None:
        """What stalls from `source` to `target` is released, late."""
        began = self._blocked.pop((source, target), None)
        if began is None:
            return
        late = self._rng.uniform(0.0, min(self.time.now - began, self.release_s_max))
        for stream in list(self.streams):
            if stream.host == source and stream.other.host == target and stream.flight:
                self._own.call_later(late, self._release, stream)
            if not self._is_silent(stream):
                stream.silent_since = None

    def heal_all(self) -> None:
        """No block is left."""
        for source, target in list(self._blocked):
            self.heal(source, target)

    def blocked(self, source: str, target: str) -> bool:
        """Whether nothing gets from `source` to `target`."""
        return (source, target) in self._blocked

    def reset(self, source: str, target: str) -> None:
        """The connection that `source` dialed to `target` breaks, with all that is in flight on it."""
        for stream in list(self.streams):
            if stream.host == source and stream.other.host == target:
                self._break(stream, ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def process_ended(self, host: str) -> None:
        """The process on `host` is gone, its kernel is not."""
        self.hosts.pop(host, None)
        self.listeners.pop(host, None)
        for stream in list(self.streams):
            if stream.host == host and not stream.closed:
                stream.closed = True
                self.hang_up(stream)

    def power_lost(self, host: str) -> None:
        """`host` is gone without a word."""
        self.hosts.pop(host, None)
        self.listeners.pop(host, None)
        self.powered_off.add(host)
        for stream in list(self.streams):
            if stream.host == host:
                stream.closed = True
                self._watch_silence(stream.other)

    def up(self, host: str, loop: SimLoop) -> None:
        """A process of `host` runs on `loop`."""
        self.powered_off.discard(host)
        self.hosts[host] = loop
        loop.network = self

    # -- what loops ask

    def listen(self, loop: SimLoop, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> _Server:
        """Let others dial `loop`'s host."""
        self.listeners[host] = factory
        return _Server(self, (host, port))

    async def dial(
        self, loop: SimLoop, factory: Callable[[], asyncio.Protocol], host: str, _port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """A connection to `host`. Raises ConnectionRefusedError; hangs while nothing can be heard from there."""
        await asyncio.sleep(self.delay() + self.delay())
        if self.blocked(loop.name, host) or self.blocked(host, loop.name) or host in self.powered_off:
            await loop.create_future()
        accept = self.listeners.get(host)
        if accept is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        near, far = SimStream(self, loop, loop.name), SimStream(self, self.hosts[host], host)
        near.other, far.other = far, near
        self.streams[near] = self.streams[far] = None
        far.loop.call_soon(self._accepted, far, accept)
        near.protocol = protocol = factory()
        protocol.connection_made(near)
        return near, protocol

    @staticmethod
    def _accepted(far: SimStream, accept: Callable[[], asyncio.Protocol]) -> None:
        if not far.closed:
            far.protocol = accept()
            far.protocol.connection_made(far)

    # -- bytes on their way

    def delay(self) -> float:
        """How long the next piece takes, in seconds."""
        random_ = self._rng.random
        if self.spike_chance and random_() < self.spike_chance:
            return self.spike_s[0] + (self.spike_s[1] - self.spike_s[0]) * random_()
        return self.delay_s[0] + (self.delay_s[1] - self.delay_s[0]) * random_()

    def arm(self, stream: SimStream) -> None:
        """See to it that the first piece of `stream` arrives when it is due."""
        if not stream.armed and stream.flight:
            stream.armed = True
            self._own.call_later(stream.flight[0][0] - self.time.now, self._arrive, stream)

    def _release(self, stream: SimStream) -> None:
        if stream.flight and not stream.armed and not self.blocked(stream.host, stream.other.host):
            self._arrive(stream)

    def _arrive(self, stream: SimStream) -> None:
        """Hand over all that is due by now, as one piece."""
        stream.armed = False
        if not stream.flight or (stream.host, stream.other.host) in self._blocked:
            return
        now, flight, other = self.time.now, stream.flight, stream.other
        pieces: list[bytes] = []
        ends = False
        while flight and flight[0][0] <= now:
            data = flight.popleft()[1]
            if data is None:
                ends = True
            else:
                pieces.append(data)
                stream.flight_bytes -= len(data)
        if pieces and not other.closed:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.delivered_total += len(pieces)
            if self.trace is not None:
                self.trace(stream.host, other.host, data)
            other.loop.call_soon(other.hear, data)
        if ends:
            if not other.closed:
                other.loop.call_soon(other.heard_end)
            self._forget(stream)
        self.arm(stream)

    # -- how connections end

    def hang_up(self, stream: SimStream) -> None:
        """This end is gone. What it had written still arrives before the end is seen, or it does not."""
        if self._rng.random() < 0.5:
            self.lost_total += len(stream.flight)
            stream.flight.clear()
            stream.flight_bytes = 0
        stream._put(None)

    def reset_later(self, stream: SimStream) -> None:
        """What `stream` wrote reached a host that knows nothing of the connection."""
        if stream.other.host in self.powered_off:
            return
        self._own.call_later(
            self.delay() + self.delay(), self._break, stream, ConnectionResetError(errno.ECONNRESET, "reset")
        )

    def _break(self, stream: SimStream, error: Exception) -> None:
        for end in (stream, stream.other):
            self.lost_total += len(end.flight)
            end.flight.clear()
            end.flight_bytes = 0
            end.lose(error)
        self._forget(stream)

    def _forget(self, stream: SimStream) -> None:
        self.streams.pop(stream, None)
        self.streams.pop(stream.other, None)

    # -- silence

    def _is_silent(self, stream: SimStream) -> bool:
        here, there = stream.host, stream.other.host
        return (
            (here, there) in self._blocked
            or (there, here) in self._blocked
            or self.hosts.get(there) is not stream.other.loop
        )

    def _watch_silence(self, stream: SimStream) -> None:
        if stream.silent_since is None and not stream.closed:
            stream.silent_since = self.time.now
            self._own.call_later(SILENCE_S_MAX, self._silent_too_long, stream)

    def _silent_too_long(self, stream: SimStream) -> None:
        since = stream.silent_since
        if since is None or stream not in self.streams or not self._is_silent(stream):
            return
        if self.time.now - since < SILENCE_S_MAX - 1e-6:
            self._own.call_later(since + SILENCE_S_MAX - self.time.now, self._silent_too_long, stream)
            return
        self._break(stream, TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))


def short(data: bytes) -> str:
    """A few letters that tell one piece of data from another."""
    return hashlib.blake2b(data, digest_size=4).hexdigest()

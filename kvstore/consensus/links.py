"""One TCP connection between two peers, in either role: handshake, frames, end.

    dialer                         acceptor
      | -- Hello ------------------> |   refused unless cluster, version, name and identity are right
      | <------ Hello or Refusal --- |   the dialer judges the acceptor's Hello in the same way
      | -- message, message, ... --> |   nothing else ever goes the other way

With TLS, both have shown a certificate before the first word, and the name that is dialed, or that says hello, must be
in it (kvstore.security.peers). Without, nobody proves anything: then a peer port is for this machine alone, or for a
network in which everyone is trusted.

A link reports what happens to the Hub, which holds what the links of a node share and decides who is let in. Whatever
goes wrong with the bytes of a link ends that link, and nothing else.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

import structlog

from kvstore import limits
from kvstore.consensus import wire
from kvstore.consensus.engine import Peer, TransportEvents
from kvstore.consensus.messages import BadMessage
from kvstore.security.peers import PeerTls

_LOG_EVERY: Final = 100


class Timer(Protocol):
    """A call that can still be called off."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], Any]], Timer]
"""Calls back after so many seconds, as `loop.call_later` does."""


@dataclass(slots=True)
class TransportStats:
    """Counters since the start, of both directions."""

    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bad_frames: int = 0
    truncated_frames: int = 0
    handshakes_refused: int = 0
    handshakes_late: int = 0
    buffers_overrun: int = 0
    reconnects: int = 0


class RepeatLog:
    """Says a thing that may repeat for ever at its first and then at every hundredth time."""

    def __init__(self, node: str) -> None:
        self._log = structlog.get_logger().bind(node=node)
        self._counts: Counter[tuple[str, str]] = Counter()

    def change(self, event: str, peer: str, **details: Any) -> None:
        """A change of state is always said."""
        self._log.info(event, peer=peer, **details)

    def trouble(self, event: str, peer: str, **details: Any) -> None:
        """`peer` is the name of a known peer, or '' while nobody knows who it is: so the counts are few."""
        self._counts[event, peer] += 1
        times = self._counts[event, peer]
        if times % _LOG_EVERY == 1:
            self._log.warning(event, peer=peer, times=times, **details)

    def well(self, event: str, peer: str) -> None:
        """The trouble is over; its next occurrence is a first one."""
        self._counts.pop((event, peer), None)


class Dialing(Protocol):
    """What an outgoing link tells the one who dialed it."""

    name: str
    stopped: bool

    def opened(self, link: "Outgoing") -> None: ...
    def connected(self, link: "Outgoing", peer: Peer) -> None: ...
    def lost(self, link: "Outgoing") -> None: ...


@dataclass(slots=True, eq=False)
class Hub:
    """What the links of one node share. `ready` and `incoming` hold one link a peer, after its handshake."""

    hello: wire.Hello
    events: TransportEvents
    authorise: Callable[[Peer], str | None]
    stranger: Callable[[Peer], bool]
    has_log: Callable[[], bool]
    call_later: CallLater
    log: RepeatLog
    tls: PeerTls | None = None
    stats: TransportStats = field(default_factory=TransportStats)
    known: set[str] = field(default_factory=set)
    ready: dict[str, "Outgoing"] = field(default_factory=dict)
    incoming: dict[str, "Incoming"] = field(default_factory=dict)
    links: dict["Link", None] = field(default_factory=dict)  # all that have a socket, oldest first
    closing: bool = False
    drained: asyncio.Event = field(default_factory=asyncio.Event)  # closing, and no link is left

    def greeting(self) -> wire.Hello:
        """What this node says of itself now."""
        return wire.telling(self.hello, has_log=self.has_log())

    def objection(self, hello: wire.Hello, expected: str | None = None) -> str | None:
        """Why whoever says `hello` is not talked to, or None. `expected` is who was dialed."""
        if hello.cluster_id != self.hello.cluster_id:
            return "another cluster id"
        if not wire.speaks(hello.protocol):
            return f"protocol version {hello.protocol} is not spoken here"
        if expected is not None and hello.name != expected:
            return f"{expected} was dialed, {hello.name} is here"
        if hello.name not in self.known and not self.stranger(peer_of(hello)):
            return f"{hello.name} is not a peer of {self.hello.name}"
        return self.authorise(peer_of(hello))

    def misnamed(self, link: "Link", name: str, *, dialed: bool) -> str | None:
        """Why the certificate of whoever is at the other end of `link` is not that of `name`, or None."""
        return None if self.tls is None else self.tls.objection(link.transport, name, dialed=dialed)

    def take_over(self, link: "Incoming", peer: Peer) -> str | None:
        """Make `link` the incoming one of `peer`, ending a former one first. The reason if it may not be, or None.

        An earlier start than was heard of before is let in: that is what a directory put back from a copy says, and
        what it holds is no danger to others. Somebody who repeats what he has recorded is TLS's business.
        """
        former = self.incoming.get(peer.name)
        if former is not None and not former.over:
            if former.peer is not None and former.peer.identity != peer.identity:
                return f"{peer.name} is connected with another identity"
            former.cut()
        self.incoming[peer.name] = link
        return None

    def refuse(self, hello: wire.Hello, reason: str) -> None:
        """Count and log a handshake that this node does not want."""
        self.stats.handshakes_refused += 1
        name = hello.name if hello.name in self.known else ""
        self.log.trouble("peer_handshake_refused", name, said=hello.name, reason=reason)

    def make_room(self) -> None:
        """Too many strangers at the door: the one that has waited longest goes."""
        strangers = [link for link in self.links if isinstance(link, Incoming) and link.peer is None and not link.over]
        if len(strangers) > limits.HANDSHAKES_PENDING_MAX:
            strangers[0].late()

    def gone(self, link: "Link") -> None:
        """The socket of `link` is closed."""
        self.links.pop(link, None)
        if self.closing and not self.links:
            self.drained.set()


class Link(asyncio.Protocol):
    """What both roles share: the handshake's deadline, decoding, the end."""

    transport: asyncio.Transport

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self.name = name  # '' until the handshake has told it
        self.peer: Peer | None = None  # set once the handshake is done
        self.over = False  # nothing is sent or delivered any more
        self._decoder = wire.FrameDecoder(limits.HANDSHAKE_BYTES_MAX)
        self._deadline: Timer | None = None

    def opened(self) -> None:
        """The connection stands; nothing was said on it yet."""
        raise NotImplementedError

    def greeted(self, greeting: wire.Greeting) -> None:
        """The first frame is here. Calls `shaken`, or ends the connection."""
        raise NotImplementedError

    def listen(self, peer: Peer) -> None:
        """There may be more frames, after the handshake."""
        raise NotImplementedError

    def lost(self, exc: Exception | None, unexpected: bool) -> None:
        """The connection is gone; `unexpected` if it was not this side that ended it."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.hub.links[self] = None
        if self.hub.closing:
            self.cut()
            return
        tune(transport.get_extra_info("socket"))
        self._deadline = self.hub.call_later(limits.HANDSHAKE_S_MAX, self.late)
        self.opened()

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        self.hub.stats.bytes_in += len(data)
        self._decoder.feed(data)
        if self.peer is None and (greeting := self.next_frame(wire.decode_greeting)) is not None:
            self.greeted(greeting)
        if self.peer is not None:
            self.listen(self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        unexpected, self.over = not self.over, True
        if unexpected and self._decoder.pending:
            self.hub.stats.truncated_frames += 1
        try:
            if not self.hub.closing:
                self.lost(exc, unexpected)
        finally:
            self.hub.gone(self)

    def cut(self) -> None:
        """End the connection now, with everything that is on it. `lost` follows from the event loop."""
        self.over = True
        self.transport.abort()

    def bad(self, problem: str) -> None:
        """The other side sent what it must not send."""
        self.hub.stats.bad_frames += 1
        self.hub.log.trouble("peer_bad_frame", self.name, problem=problem)
        self.cut()

    def late(self) -> None:
        """The handshake took too long."""
        self._in_time()
        self.hub.stats.handshakes_late += 1
        self.hub.log.trouble("peer_handshake_late", self.name)
        self.cut()

    def shaken(self, peer: Peer) -> None:
        """The handshake is done."""
        self._in_time()
        self.name, self.peer = peer.name, peer
        self._decoder.frame_bytes_max = limits.FRAME_BYTES_MAX

    def say(self, greeting: wire.Greeting) -> None:
        """Send a handshake message."""
        frame = wire.encode_greeting(greeting)
        self.hub.stats.frames_out += 1
        self.hub.stats.bytes_out += len(frame)
        self.transport.write(frame)

    def next_frame(self, decode: Callable[[bytes], Any]) -> Any:
        """The next frame, decoded; None when no whole one is here, or when a bad one has ended the connection."""
        try:
            payload = self._decoder.next_payload()
            if payload is None:
                return None
            decoded = decode(payload)
        except BadMessage as broken:
            self.bad(str(broken))
            return None
        self.hub.stats.frames_in += 1
        return decoded

    @property
    def bytes_pending(self) -> int:
        """Bytes that have arrived and were not read."""
        return self._decoder.pending

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Incoming(Link):
    """A connection that somebody dialed: hears a Hello, answers it, then delivers messages."""

    def opened(self) -> None:
        self.hub.make_room()

    def greeted(self, greeting: wire.Greeting) -> None:
        if isinstance(greeting, wire.Refusal):
            self.bad("a refusal where a hello was due")
            return
        peer = peer_of(greeting)
        reason = (
            self.hub.misnamed(self, peer.name, dialed=False)
            or self.hub.objection(greeting)
            or self.hub.take_over(self, peer)
        )
        if reason is None:
            self.say(self.hub.greeting())
            self.shaken(peer)
            return
        self.hub.refuse(greeting, reason)
        self.over = True
        self.say(wire.Refusal(reason[: limits.HANDSHAKE_TEXT_CHARS_MAX]))
        # Sends the answer and ends; the handshake's deadline stands until then, should nobody read it.
        self.transport.close()

    def listen(self, peer: Peer) -> None:
        name, deliver = peer.name, self.hub.events.peer_message
        while not self.over and (message := self.next_frame(wire.decode_message)) is not None:
            deliver(name, message)

    def lost(self, exc: Exception | None, unexpected: bool) -> None:
        if self.hub.incoming.get(self.name) is not self:
            return
        del self.hub.incoming[self.name]
        # A connection that timed out tells nothing about the process at its other end.
        if unexpected and (exc is None or isinstance(exc, ConnectionError)):
            self.hub.events.peer_lost(self.name)


class Outgoing(Link):
    """A connection that this node dialed: says Hello, hears the answer, then only sends."""

    def __init__(self, hub: Hub, dialer: Dialing) -> None:
        super().__init__(hub, dialer.name)
        self._dialer = dialer

    def opened(self) -> None:
        self._dialer.opened(self)
        if self._dialer.stopped:
            self.cut()
        elif reason := self.hub.misnamed(self, self.name, dialed=True):
            self.hub.stats.handshakes_refused += 1
            self.hub.log.trouble("peer_handshake_refused", self.name, reason=reason)
            self.cut()
        else:
            self.say(self.hub.greeting())

    def greeted(self, greeting: wire.Greeting) -> None:
        if isinstance(greeting, wire.Refusal):
            self.hub.log.trouble("peer_refuses_us", self.name, reason=greeting.reason)
            self.cut()
            return
        reason = self.hub.objection(greeting, expected=self.name)
        if reason is not None:
            self.hub.refuse(greeting, reason)
            self.cut()
            return
        peer = peer_of(greeting)
        self.shaken(peer)
        self.hub.ready[self.name] = self
        self._dialer.connected(self, peer)

    def listen(self, peer: Peer) -> None:
        if not self.over and self.bytes_pending:
            self.bad("more than the answer to a hello")

    def cut(self) -> None:
        self._not_ready()
        super().cut()

    def lost(self, exc: Exception | None, unexpected: bool) -> None:
        self._not_ready()
        if self.peer is None and self.hub.tls is not None and (reason := self.hub.tls.rejected(exc, self.name)):
            self.hub.log.trouble("peer_refuses_us", self.name, reason=reason)
        if self.peer is not None:
            self.hub.log.change("peer_disconnected", self.name, problem=str(exc) if exc else None)
            self.hub.events.peer_disconnected(self.name)
        self._dialer.lost(self)

    def _not_ready(self) -> None:
        if self.hub.ready.get(self.name) is self:
            del self.hub.ready[self.name]


def peer_of(hello: wire.Hello) -> Peer:
    """Who said `hello`."""
    return Peer(
        hello.name,
        hello.identity,
        hello.incarnation,
        hello.http,
        hello.address,
        hello.has_log,
        hello.features,
        hello.calls,
    )


def tune(sock: socket.socket) -> None:
    """No delay; and an end to a connection whose other side has been silent for PEER_SILENCE_S_MAX.

    Without that end, a link through a partition would first wait for the kernel's retransmission timer, which doubles
    up to two minutes, long after the partition has healed.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_USER_TIMEOUT", limits.PEER_SILENCE_S_MAX * 1000),
        ("TCP_KEEPIDLE", limits.PEER_SILENCE_S_MAX),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", limits.PEER_SILENCE_S_MAX),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

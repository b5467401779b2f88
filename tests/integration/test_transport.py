"""Peer connections over real loopback sockets, on the loop of asyncio and on uvloop."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop

from kvstore import limits
from kvstore.consensus import wire
from kvstore.consensus.engine import Peer, Transport, TransportEvents
from kvstore.consensus.messages import Append, Call, Message, ReadRound, TimeoutNow
from kvstore.consensus.transport import PeerTransport

CLUSTER = "c1"
PATIENCE_S = 20.0

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


def on_every_loop(test: Callable[[], Awaitable[None]]) -> Callable[[Any], None]:
    """Runs an async test on both loops; whatever it leaves behind fails it: a task, a socket, a loop error."""

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        errors: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            before = open_sockets()
            await asyncio.wait_for(test(), PATIENCE_S)
            await asyncio.sleep(0)  # a closed transport lets go of its socket in the turn after its last callback
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert open_sockets() == before

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
        assert errors == []

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def open_sockets() -> int:
    """How many sockets this process holds."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


class Recorder:
    """A TransportEvents that remembers everything in order, and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self._changed = asyncio.Event()
        self.on_message: Callable[[str, Message], None] | None = None

    def peer_connected(self, peer: Peer) -> None:
        self._add("connected", peer.name)

    def peer_disconnected(self, name: str) -> None:
        self._add("disconnected", name)

    def peer_lost(self, name: str) -> None:
        self._add("lost", name)

    def peer_message(self, name: str, message: Message) -> None:
        self._add("message", name, message)
        if self.on_message is not None:
            self.on_message(name, message)

    def _add(self, *event: Any) -> None:
        self.seen.append(event)
        self._changed.set()

    def count(self, *event: Any) -> int:
        """How often an event that begins like `event` was seen."""
        return sum(one[: len(event)] == event for one in self.seen)

    async def until(self, *event: Any, times: int = 1) -> None:
        """Wait until it was seen `times` times."""
        while self.count(*event) < times:
            self._changed.clear()
            await self._changed.wait()

    def messages(self) -> list[Message]:
        return [one[2] for one in self.seen if one[0] == "message"]


class Node:
    """A transport with its recorder."""

    def __init__(self, name: str, **settings: Any) -> None:
        self.events = Recorder()
        events: TransportEvents = self.events
        self.transport = PeerTransport(
            hello=Peer(name, settings.pop("identity", f"id-{name}"), settings.pop("incarnation", 1), f"http://{name}"),
            cluster_id=settings.pop("cluster_id", CLUSTER),
            listen=settings.pop("listen", ("127.0.0.1", 0)),
            peers=settings.pop("peers", {}),
            events=events,
            authorise=settings.pop("authorise", lambda peer: None),
            **settings,
        )

    @property
    def address(self) -> tuple[str, int]:
        assert self.transport.address is not None
        return self.transport.address


@asynccontextmanager
async def started(*nodes: Node) -> AsyncIterator[None]:
    try:
        for node in nodes:
            await node.transport.start()
        yield
    finally:
        for node in nodes:
            await node.transport.close()


async def pair(a: Node, b: Node) -> None:
    """Make `a` and `b` peers of each other and wait until both directions stand."""
    a.transport.add_peer("b", b.address)
    b.transport.add_peer("a", a.address)
    await a.events.until("connected", "b")
    await b.events.until("connected", "a")


class RawPeer:
    """The other end of a connection, written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = wire.FrameDecoder()

    @classmethod
    async def dial(cls, address: tuple[str, int]) -> "RawPeer":
        return cls(*await asyncio.open_connection(*address))

    def say(self, name: str, cluster_id: str = CLUSTER, identity: str | None = None, protocol: int = 1) -> None:
        hello = wire.Hello(protocol, cluster_id, name, identity or f"id-{name}", 1, f"http://{name}")
        self.writer.write(wire.encode_greeting(hello))

    async def hear(self) -> wire.Greeting | None:
        """The next frame as a greeting, or None at the end of the connection."""
        payload = await self._payload()
        return None if payload is None else wire.decode_greeting(payload)

    async def hear_message(self) -> Message | None:
        """The next frame as a message, or None at the end of the connection."""
        payload = await self._payload()
        return None if payload is None else wire.decode_message(payload)

    async def _payload(self) -> bytes | None:
        while (payload := self._decoder.next_payload()) is None:
            data = await self.rest(1 << 16)
            if not data:
                return None
            self._decoder.feed(data)
        return payload

    async def rest(self, size: int = -1) -> bytes:
        """What else arrives until the other side ends the connection, in either way."""
        try:
            return await self.reader.read(size)
        except ConnectionError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def raw_listener(*, small_buffer: bool = False) -> AsyncIterator[tuple[tuple[str, int], asyncio.Queue[RawPeer]]]:
    """A port whose connections are queued as RawPeers."""
    accepted: asyncio.Queue[RawPeer] = asyncio.Queue()
    everyone: list[RawPeer] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everyone.append(RawPeer(reader, writer))
        accepted.put_nowait(everyone[-1])

    listener = socket.socket()
    if small_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(accept, sock=listener, limit=4_096)
    try:
        yield listener.getsockname()[:2], accepted
    finally:
        server.close()
        for one in everyone:
            await one.close()
        await server.wait_closed()


class HeldTimers:
    """A call_later that never fires handshake deadlines by itself, and passes every other timer on to the loop."""

    def __init__(self) -> None:
        self.handshakes: list[_Held] = []

    def __call__(self, delay_s: float, callback: Callable[[], Any]) -> Any:
        if delay_s != limits.HANDSHAKE_S_MAX:
            return asyncio.get_running_loop().call_later(delay_s, callback)
        self.handshakes.append(_Held(callback))
        return self.handshakes[-1]

    def fire(self) -> int:
        """Let every deadline pass that was not called off. How many those were."""
        due = [held for held in self.handshakes if not held.cancelled]
        self.handshakes.clear()
        for held in due:
            held.callback()
        return len(due)


class _Held:
    def __init__(self, callback: Callable[[], Any]) -> None:
        self.callback, self.cancelled = callback, False

    def cancel(self) -> None:
        self.cancelled = True


@on_every_loop
async def test_both_directions_come_up_and_tell_who_is_there() -> None:
    a, b = Node("a", incarnation=3), Node("b", incarnation=4)
    transport: Transport = a.transport
    assert transport.peer("b") is None
    async with started(a, b):
        assert a.transport.peer("b") is None
        assert a.transport.send("b", TimeoutNow(1)) is False
        await pair(a, b)
        assert a.transport.peer("b") == Peer("b", "id-b", 4, "http://b")
        assert b.transport.peer("a") == Peer("a", "id-a", 3, "http://a")
        assert a.transport.send("b", TimeoutNow(1)) is True
        assert b.transport.send("a", TimeoutNow(2)) is True
        await a.events.until("message", "b", TimeoutNow(2))
        await b.events.until("message", "a", TimeoutNow(1))
    assert a.transport.peer("b") is None
    assert a.transport.send("b", TimeoutNow(1)) is False


@on_every_loop
async def test_messages_of_all_sizes_arrive_in_the_order_in_which_they_were_sent() -> None:
    a, b = Node("a"), Node("b")
    sizes = (0, 1, 100, limits.FRAME_COMPRESS_BYTES_MIN + 1, 300_000, 3_000_000)
    sent: list[Message] = []
    for number in range(600):
        size = sizes[number % 5] if number % 100 else sizes[5]
        sent.append(Append(number, 1, 1, 1, 1, False, False, [(1, os.urandom(size))]))
    async with started(a, b):
        await pair(a, b)
        for start in range(0, len(sent), 50):
            assert all(a.transport.send("b", message) for message in sent[start : start + 50])
            await b.events.until("message", "a", times=start + 50)
        assert b.events.messages() == sent
        assert b.transport.stats.bad_frames == 0


@on_every_loop
async def test_a_peer_that_was_down_is_dialed_until_it_is_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = reserved.getsockname()
    a, b = Node("a", peers={"b": address}), Node("b", listen=address)
    async with started(a):
        async with started(b):
            b.transport.add_peer("a", a.address)
            await a.events.until("connected", "b")
        await a.events.until("disconnected", "b")
        again = Node("b", listen=address, peers={"a": a.address}, incarnation=2)
        async with started(again):
            await a.events.until("connected", "b", times=2)
            peer = a.transport.peer("b")
            assert peer is not None
            assert peer.incarnation == 2
            assert a.transport.stats.reconnects == 1
            assert [event for event, *_ in a.events.seen if event != "lost"] == [
                "connected",
                "disconnected",
                "connected",
            ]


@on_every_loop
async def test_nothing_that_was_sent_before_a_reconnect_arrives_after_it() -> None:
    a = Node("a")
    async with raw_listener(small_buffer=True) as (address, accepted), started(a):
        a.transport.add_peer("b", address)
        first = await accepted.get()
        first.say("b")
        await a.events.until("connected", "b")
        for number in range(40):  # more than the kernel takes: some of it waits in the transport
            assert a.transport.send("b", Append(number, 1, 1, 1, 1, False, False, [(1, os.urandom(500_000))]))
        first.writer.transport.abort()
        await a.events.until("disconnected", "b")
        assert a.transport.peer("b") is None
        assert a.transport.send("b", TimeoutNow(1)) is False
        second = await accepted.get()
        second.say("b")
        await a.events.until("connected", "b", times=2)
        assert a.transport.send("b", TimeoutNow(2))
        assert isinstance(await second.hear(), wire.Hello)
        assert await second.hear_message() == TimeoutNow(2)


@on_every_loop
async def test_a_dialer_of_another_cluster_an_unknown_name_or_an_unwanted_identity_is_refused_with_the_reason() -> None:
    a = Node("a", peers={"b": ("127.0.0.1", 1)}, authorise=lambda peer: None if peer.identity == "id-b" else "wiped")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": "b", "cluster_id": "c2"}, "another cluster id"),
        ({"name": "x"}, "x is not a peer of a"),
        ({"name": "a"}, "a is not a peer of a"),
        ({"name": "b", "identity": "new"}, "wiped"),
    ]
    async with started(a):
        for said, reason in cases:
            stranger = await RawPeer.dial(a.address)
            stranger.say(**said)
            assert await stranger.hear() == wire.Refusal(reason)
            stranger.writer.write(wire.encode_message(TimeoutNow(1)))
            assert await stranger.rest() == b""
            await stranger.close()
        assert a.transport.stats.handshakes_refused == len(cases)
        assert a.transport.stats.bad_frames == 0
        friend = await RawPeer.dial(a.address)
        friend.say("b")
        assert isinstance(await friend.hear(), wire.Hello)
        friend.writer.write(wire.encode_message(TimeoutNow(2)))
        await a.events.until("message", "b", TimeoutNow(2))
        await friend.close()
    assert a.events.messages() == [TimeoutNow(2)]


@on_every_loop
async def test_a_refused_dialer_goes_on_dialing_and_is_let_in_when_the_reason_is_gone() -> None:
    answers = iter(("not yet", "not yet", "not yet"))
    a, b = Node("a"), Node("b", authorise=lambda peer: next(answers, None))
    async with started(a, b):
        b.transport.add_peer("a", ("127.0.0.1", 1))
        a.transport.add_peer("b", b.address)
        await a.events.until("connected", "b")
        assert b.transport.stats.handshakes_refused == 3
        assert a.transport.stats.reconnects == 0
        assert a.events.seen == [("connected", "b")]


@on_every_loop
async def test_a_dialer_refuses_whoever_is_not_the_one_it_dialed() -> None:
    a = Node("a", peers={"c": ("127.0.0.1", 1)}, authorise=lambda peer: None if peer.identity == "id-b" else "wiped")
    async with raw_listener() as (address, accepted), started(a):
        a.transport.add_peer("b", address)
        wrong: list[dict[str, Any]] = [{"name": "c"}, {"name": "b", "cluster_id": "c2"}, {"name": "b", "identity": "x"}]
        for number, said in enumerate(wrong):
            there = await accepted.get()
            assert isinstance(await there.hear(), wire.Hello)
            there.say(**said)
            assert await there.rest() == b""
            assert a.transport.stats.handshakes_refused == number + 1
        assert a.events.seen == []
        there = await accepted.get()
        there.say("b", protocol=9)  # a later version that still speaks this one
        await a.events.until("connected", "b")


@on_every_loop
async def test_garbage_on_the_port_ends_that_connection_and_no_other() -> None:
    a, b = Node("a"), Node("b")
    async with started(a, b):
        await pair(a, b)
        for number, garbage in enumerate(
            (
                b"GET / HTTP/1.1\r\n\r\n",
                bytes(64),
                os.urandom(4) + b"\xff" * 60,
                wire.encode_frame(b"\xc1"),
                b"\xff" * 9_000,
            )
        ):
            stranger = await RawPeer.dial(a.address)
            stranger.writer.write(garbage)
            await stranger.rest()
            await stranger.close()
            assert a.transport.stats.bad_frames == number + 1
        assert b.transport.send("a", TimeoutNow(1))
        await a.events.until("message", "b", TimeoutNow(1))
        assert a.events.count("lost") == a.events.count("disconnected") == 0


@on_every_loop
async def test_an_oversized_a_damaged_or_an_unknown_frame_after_the_handshake_ends_the_connection() -> None:
    damaged = bytearray(wire.encode_message(TimeoutNow(1)))
    damaged[-1] ^= 1
    oversized = (limits.FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(4)
    unknown = wire.encode_frame(b"\x92\x63\x01")
    a = Node("a", peers={"b": ("127.0.0.1", 1)})
    async with started(a):
        for number, bad in enumerate((bytes(damaged), oversized, unknown)):
            b = await RawPeer.dial(a.address)
            b.say("b")
            assert isinstance(await b.hear(), wire.Hello)
            b.writer.write(wire.encode_message(ReadRound(1, number)) + bad + wire.encode_message(TimeoutNow(1)))
            assert await b.rest() == b""
            await b.close()
            assert a.transport.stats.bad_frames == number + 1
        # What came before the bad frame was delivered, nothing after it; and it was this side that ended it.
        assert a.events.seen == [("message", "b", ReadRound(1, number)) for number in range(3)]


@on_every_loop
async def test_an_acceptor_that_says_more_than_its_hello_is_cut() -> None:
    a = Node("a")
    async with raw_listener() as (address, accepted), started(a):
        a.transport.add_peer("b", address)
        there = await accepted.get()
        there.say("b")
        await a.events.until("connected", "b")
        there.writer.write(wire.encode_message(TimeoutNow(1)))
        await a.events.until("disconnected", "b")
        assert a.transport.stats.bad_frames == 1
        assert a.events.messages() == []


@on_every_loop
async def test_whoever_does_not_finish_the_handshake_in_time_is_cut() -> None:
    timers = HeldTimers()
    a = Node("a", call_later=timers)
    async with raw_listener() as (address, accepted), started(a):
        silent = await RawPeer.dial(a.address)
        slow = await RawPeer.dial(a.address)
        slow.writer.write(b"\0\0\0")
        a.transport.add_peer("b", address)
        dialed = await accepted.get()
        assert isinstance(await dialed.hear(), wire.Hello)
        while len(timers.handshakes) < 3:
            await asyncio.sleep(0)
        assert timers.fire() == 3
        assert await silent.rest() == await slow.rest() == await dialed.rest() == b""
        assert a.transport.stats.handshakes_late == 3
        again = await accepted.get()
        again.say("b")
        await a.events.until("connected", "b")
        assert timers.fire() == 0
        await silent.close()
        await slow.close()


@on_every_loop
async def test_a_crowd_of_strangers_does_not_keep_a_peer_out() -> None:
    a = Node("a", peers={"b": ("127.0.0.1", 1)})
    async with started(a):
        crowd = [await RawPeer.dial(a.address) for _ in range(limits.HANDSHAKES_PENDING_MAX + 5)]
        b = await RawPeer.dial(a.address)
        b.say("b")
        assert isinstance(await b.hear(), wire.Hello)
        assert [await one.rest() for one in crowd[:5]] == [b""] * 5
        assert 5 <= a.transport.stats.handshakes_late <= 6
        for one in (*crowd, b):
            await one.close()


def test_a_peer_that_does_not_read_is_cut_when_the_buffer_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_BUFFER_BYTES_MAX", 1 << 20)

    async def scenario() -> None:
        a = Node("a")
        async with raw_listener(small_buffer=True) as (address, accepted), started(a):
            a.transport.add_peer("b", address)
            there = await accepted.get()
            there.say("b")
            await a.events.until("connected", "b")
            sent = 0
            message = Append(1, 1, 1, 1, 1, False, False, [(1, os.urandom(100_000))])
            while a.transport.send("b", message):
                sent += 1
                assert sent < 1_000
            # Found inside send: the connection is gone at once, its owner hears of it from the loop.
            assert a.transport.peer("b") is None
            assert a.transport.send("b", message) is False
            assert a.events.seen == [("connected", "b")]
            assert a.transport.stats.buffers_overrun == 1
            await a.events.until("disconnected", "b")
            again = await accepted.get()
            again.say("b")
            await a.events.until("connected", "b", times=2)
            assert a.events.seen == [("connected", "b"), ("disconnected", "b"), ("connected", "b")]

    for new_loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(scenario(), PATIENCE_S))


@on_every_loop
async def test_a_new_connection_of_a_peer_replaces_its_former_one() -> None:
    a = Node("a", peers={"b": ("127.0.0.1", 1)})
    async with started(a):
        former, present = await RawPeer.dial(a.address), await RawPeer.dial(a.address)
        former.say("b")
        assert isinstance(await former.hear(), wire.Hello)
        former.writer.write(wire.encode_message(ReadRound(1, 1)))
        await a.events.until("message", "b", ReadRound(1, 1))
        present.say("b")
        assert isinstance(await present.hear(), wire.Hello)
        former.writer.write(wire.encode_message(ReadRound(1, 2)))
        present.writer.write(wire.encode_message(ReadRound(2, 1)))
        await a.events.until("message", "b", ReadRound(2, 1))
        assert await former.rest() == b""
        await former.close()
        assert a.events.messages() == [ReadRound(1, 1), ReadRound(2, 1)]
        assert a.events.count("lost") == 0
        impostor = await RawPeer.dial(a.address)
        impostor.say("b", identity="id-other")
        assert await impostor.hear() == wire.Refusal("b is connected with another identity")
        await impostor.close()
        present.writer.write(wire.encode_message(ReadRound(2, 2)))
        await a.events.until("message", "b", ReadRound(2, 2))
        await present.close()
        await a.events.until("lost", "b")


@on_every_loop
async def test_a_stalled_former_connection_delivers_nothing_after_the_new_ones_first_frame() -> None:
    a = Node("a", peers={"b": ("127.0.0.1", 1)})
    async with started(a):
        former = await RawPeer.dial(a.address)
        former.say("b")
        assert isinstance(await former.hear(), wire.Hello)
        present = await RawPeer.dial(a.address)
        # Both have frames on the way in the same turn of the loop.
        present.say("b")
        for number in range(200):
            former.writer.write(wire.encode_message(ReadRound(1, number)))
        assert isinstance(await present.hear(), wire.Hello)
        present.writer.write(wire.encode_message(ReadRound(2, 0)))
        await a.events.until("message", "b", ReadRound(2, 0))
        assert await former.rest() == b""
        delivered = a.events.messages()
        assert delivered[-1] == ReadRound(2, 0)
        assert delivered[:-1] == [ReadRound(1, number) for number in range(len(delivered) - 1)]
        await former.close()
        await present.close()


@on_every_loop
async def test_peer_lost_is_told_when_the_other_side_closes_or_resets() -> None:
    a = Node("a", peers={"b": ("127.0.0.1", 1)})
    async with started(a):
        for number, reset in enumerate((False, True)):
            b = await RawPeer.dial(a.address)
            b.say("b")
            assert isinstance(await b.hear(), wire.Hello)
            if reset:
                linger = struct.pack("ii", 1, 0)
                b.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await b.close()
            await a.events.until("lost", "b", times=number + 1)
        stranger = await RawPeer.dial(a.address)
        await stranger.close()
        assert a.events.seen == [("lost", "b")] * 2


@on_every_loop
async def test_a_dropped_peer_is_cut_in_both_directions_and_let_in_no_more() -> None:
    a, b = Node("a"), Node("b")
    async with started(a, b):
        await pair(a, b)
        a.transport.drop_peer("b")
        assert a.transport.send("b", TimeoutNow(1)) is False
        await a.events.until("disconnected", "b")
        await b.events.until("disconnected", "a")
        await b.events.until("lost", "a")
        stranger = await RawPeer.dial(a.address)
        stranger.say("b")
        assert await stranger.hear() == wire.Refusal("b is not a peer of a")
        await stranger.close()
        assert a.events.seen == [("connected", "b"), ("disconnected", "b")]
        a.transport.add_peer("b", b.address)
        await a.events.until("connected", "b", times=2)
        await b.events.until("connected", "a", times=2)


@on_every_loop
async def test_a_peer_that_moved_is_dialed_at_its_new_address() -> None:
    a, here, there = Node("a"), Node("b"), Node("b", incarnation=2)
    async with started(a, here, there):
        await pair(a, here)
        there.transport.add_peer("a", a.address)
        a.transport.add_peer("b", there.address)
        await a.events.until("disconnected", "b")
        await a.events.until("connected", "b", times=2)
        peer = a.transport.peer("b")
        assert peer is not None
        assert peer.incarnation == 2
        await here.transport.close()


@on_every_loop
async def test_a_peer_may_be_dropped_while_its_messages_are_delivered() -> None:
    a, b = Node("a"), Node("b")
    async with started(a, b):
        await pair(a, b)
        a.events.on_message = lambda name, _: a.transport.drop_peer(name)
        for number in range(3):
            assert b.transport.send("a", TimeoutNow(number))
        await a.events.until("disconnected", "b")
        assert a.events.messages() == [TimeoutNow(0)]


@on_every_loop
async def test_close_tells_nothing_more_and_may_come_at_any_moment() -> None:
    a, b = Node("a"), Node("b")
    async with started(a, b):
        await pair(a, b)
        half_open = [await RawPeer.dial(a.address) for _ in range(20)]  # some of them not accepted yet
        unreachable = Node("c", peers={"a": a.address, "x": ("127.0.0.1", 1)})
        await unreachable.transport.start()
        await unreachable.transport.close()  # while dialing
        seen = list(a.events.seen)
        await asyncio.gather(a.transport.close(), a.transport.close())
        for one in half_open:
            assert await one.rest() == b""
            await one.close()
        assert a.events.seen == seen
        assert a.transport.address is None
        await b.events.until("lost", "a")
    never_started = Node("d", peers={"a": ("127.0.0.1", 1)})
    await never_started.transport.close()


@on_every_loop
async def test_no_task_and_no_socket_is_left_when_close_returns() -> None:
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    a, b = Node("a"), Node("b")
    await a.transport.start()
    await b.transport.start()
    await pair(a, b)
    dialing = Node("c", listen=None, peers={"b": b.address})
    await dialing.transport.start()
    await dialing.transport.close()
    assert len(asyncio.all_tasks()) == len(tasks)
    await a.transport.close()
    await b.transport.close()
    assert asyncio.all_tasks() == tasks
    assert open_sockets() == sockets


@on_every_loop
async def test_a_node_without_a_port_dials_and_sends() -> None:
    alone, b = Node("a", listen=None), Node("b")
    async with started(alone, b):
        assert alone.transport.address is None
        b.transport.add_peer("a", ("127.0.0.1", 1))
        alone.transport.add_peer("b", b.address)
        await alone.events.until("connected", "b")
        assert alone.transport.send("b", TimeoutNow(1))
        await b.events.until("message", "a", TimeoutNow(1))


@on_every_loop
async def test_a_message_too_long_for_any_peer_raises_and_harms_nothing() -> None:
    a, b = Node("a"), Node("b")
    async with started(a, b):
        await pair(a, b)
        with pytest.raises(wire.FrameTooLong):
            a.transport.send("b", Call(1, "m", [os.urandom(limits.FRAME_BYTES_MAX)]))
        assert a.transport.send("b", TimeoutNow(1))
        await b.events.until("message", "a", TimeoutNow(1))


@on_every_loop
async def test_a_port_that_is_taken_is_an_os_error() -> None:
    a = Node("a")
    async with started(a):
        second = Node("b", listen=a.address)
        with pytest.raises(OSError, match="in use"):
            await second.transport.start()
        await second.transport.close()


def test_a_node_is_not_its_own_peer_and_its_hello_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="itself"):
        Node("a", peers={"a": ("127.0.0.1", 1)})
    with pytest.raises(ValueError, match="length"):
        Node("a" * (limits.NAME_CHARS_MAX + 1))

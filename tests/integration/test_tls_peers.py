"""Mutual TLS between peers, over real sockets and on both loops: who passes for whom, and what is dropped."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from structlog.testing import capture_logs

from kvstore import limits
from kvstore.consensus import wire
from kvstore.consensus.messages import Append, TimeoutNow
from kvstore.security.keeper import Keeper
from kvstore.security.peers import PeerTls
from tests.integration.test_transport import CLUSTER, Node, RawPeer, on_every_loop, pair, raw_listener, started
from tests.support.pki import Pki

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


class Scene:
    """A CA of the test's own, and nodes with certificates of it."""

    def __init__(self, directory: Path) -> None:
        self.pki = Pki(directory / "ours")
        self.stranger = Pki(directory / "theirs")
        self.keepers: dict[str, Keeper] = {}

    def node(self, name: str, keeper: Keeper | None = None, **settings: Any) -> Node:
        keeper = self.keepers[name] = keeper or self.pki.keeper(name)
        return Node(name, tls=PeerTls(keeper), **settings)

    def disguised(self, name: str, real: str) -> Keeper:
        """A keeper with the certificate of `real`, for a node that says that it is `name`. A node refuses to start
        with it; whoever has stolen a certificate has no such scruples.
        """
        return self.pki.keeper(real)

    def refused(self, node: str, door: str, reason: str) -> float:
        return self.keepers[node].counts.refused.get((door, reason), 0)

    async def until_refused(self, node: str, door: str, reason: str, times: int = 1) -> None:
        while self.refused(node, door, reason) < times:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    with TemporaryDirectory() as directory:
        yield Scene(Path(directory))


@on_every_loop
async def test_peers_with_certificates_talk_and_large_messages_arrive_whole() -> None:
    async with scene() as t:
        a, b = t.node("a"), t.node("b")
        sent = [Append(n, 1, 1, 1, 1, False, False, [(1, os.urandom(700_000))]) for n in range(20)]
        async with started(a, b):
            await pair(a, b)
            for message in sent:
                assert a.transport.send("b", message)
            assert b.transport.send("a", TimeoutNow(2))
            await b.events.until("message", "a", times=len(sent))
            await a.events.until("message", "b", TimeoutNow(2))
        assert b.events.messages() == sent
        assert t.keepers["a"].counts.refused == t.keepers["b"].counts.refused == {}
        assert t.keepers["a"].counts.handshakes == {"http": 0, "redis": 0, "peer": 1, "peer_dial": 1}


@on_every_loop
async def test_a_dialer_with_the_certificate_of_another_name_is_refused() -> None:
    async with scene() as t:
        with capture_logs() as logs:
            a = t.node("a", peers={"b": ("127.0.0.1", 1)})
            b = t.node("b", t.disguised("b", "c"))
            async with started(a, b):
                b.transport.add_peer("a", a.address)
                await t.until_refused("a", "peer", "wrong_name")
                assert a.transport.stats.handshakes_refused >= 1
                assert ("connected", "a") not in b.events.seen
        assert a.events.messages() == []
        line = next(line for line in logs if line["event"] == "tls_refused" and line["door"] == "peer")
        assert line["reason"] == "wrong_name"
        assert "its certificate is for c, localhost, not for b" in line["detail"]


@on_every_loop
async def test_a_dialer_says_nothing_to_whoever_is_not_the_one_it_dialed() -> None:
    async with scene() as t:
        a, c = t.node("a"), t.node("c", peers={"a": ("127.0.0.1", 1)})
        async with started(a, c):
            a.transport.add_peer("b", c.address)  # the right CA, another node
            await t.until_refused("a", "peer_dial", "wrong_name", times=2)
            assert a.transport.peer("b") is None
        assert c.transport.stats.frames_in == 0


@on_every_loop
async def test_a_peer_of_another_ca_or_with_an_expired_certificate_or_that_of_a_client_is_refused() -> None:
    async with scene() as t:
        pki = t.pki
        cases: dict[str, ssl.SSLContext] = {
            "unknown_ca": pki.context(t.stranger.node("b")),
            "expired": pki.context(pki.node("b", age_days=400)),
            "wrong_name": pki.context(pki.client("b")),
            "no_certificate": pki.context(),
            "version": pki.context(pki.node("b"), version_max="1.2"),
        }
        with capture_logs() as logs:
            a = t.node("a", peers={"b": ("127.0.0.1", 1)})
            async with started(a):
                for reason, context in cases.items():
                    context.check_hostname = False
                    with suppress(OSError, ssl.SSLError):
                        there = RawPeer(*await asyncio.open_connection(*a.address, ssl=context))
                        there.say("b")
                        with suppress(ssl.SSLError):
                            said = await there.hear()
                            assert said is None or isinstance(said, wire.Refusal)
                        there.writer.transport.abort()
                    await t.until_refused("a", "peer", reason)
        assert a.events.seen == []
        told = {line["reason"]: line["detail"] for line in logs if line["event"] == "tls_refused"}
        assert told.keys() == cases.keys()


@on_every_loop
async def test_each_side_says_why_when_certificates_are_of_different_cas() -> None:
    async with scene() as t:
        a, b = t.node("a"), t.node("b", t.stranger.keeper("b"))
        async with started(a, b):
            a.transport.add_peer("b", b.address)
            await t.until_refused("a", "peer_dial", "unknown_ca")
            await t.until_refused("b", "peer", "rejected")


@on_every_loop
async def test_a_dialer_learns_that_its_certificate_is_refused_although_its_own_handshake_was_over() -> None:
    async with scene() as t:
        # b trusts both CAs, a only one: b's certificate, of the other one, is judged by a after b's part is done.
        a = t.node("a", peers={"b": ("127.0.0.1", 1)})
        cert, key = t.stranger.node("b")
        both = t.stranger.directory / "both.pem"
        both.write_bytes(t.pki.ca.read_bytes() + t.stranger.ca.read_bytes())
        files = t.pki.files("b")._replace(cert=str(cert), key=str(key), ca=str(both))
        b = t.node("b", Keeper(files, "b"))
        async with started(a, b):
            b.transport.add_peer("a", a.address)
            await t.until_refused("a", "peer", "unknown_ca")
            await t.until_refused("b", "peer_dial", "rejected")


@on_every_loop
async def test_plain_and_tls_do_not_mix() -> None:
    async with scene() as t:
        a = t.node("a", peers={"b": ("127.0.0.1", 1)})
        plain = Node("b", peers={"a": ("127.0.0.1", 1)})
        async with started(a, plain):
            plain.transport.add_peer("a", a.address)
            a.transport.add_peer("b", plain.address)
            await t.until_refused("a", "peer", "not_tls")
            while not sum(n for (door, _), n in t.keepers["a"].counts.refused.items() if door == "peer_dial"):
                await asyncio.sleep(0.005)
            while plain.transport.stats.bad_frames == 0:
                await asyncio.sleep(0.005)
        assert a.events.seen == []
        assert ("connected", "a") not in plain.events.seen


@on_every_loop
async def test_garbage_a_cut_flight_and_a_replayed_one_are_counted_and_dropped() -> None:
    async with scene() as t:
        a, b = t.node("a"), t.node("b")
        async with started(a, b):
            a.transport.add_peer("b", b.address)
            # What b says to a passes through here, and is kept.
            recorded = bytearray()
            relays: list[asyncio.Task[Any] | None] = []

            async def relay(near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
                relays.append(asyncio.current_task())
                far, far_out = await asyncio.open_connection(*a.address)

                async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray) -> None:
                    with suppress(ConnectionError):
                        while data := await source.read(65_536):
                            kept += data
                            sink.write(data)
                    sink.close()

                await asyncio.gather(copy(near, far_out, recorded), copy(far, near_out, bytearray()))

            server = await asyncio.start_server(relay, "127.0.0.1", 0)
            b.transport.add_peer("a", server.sockets[0].getsockname()[:2])
            await b.events.until("connected", "a")
            assert b.transport.send("a", TimeoutNow(7))
            await a.events.until("message", "b", TimeoutNow(7))
            for sent, reason in (
                (b"\x16\x03\x01\x02\x00" + os.urandom(512), "garbled"),
                (bytes(recorded[:100]), "closed"),
                (bytes(recorded), "garbled"),
            ):
                before = t.refused("a", "peer", reason)
                reader, writer = await asyncio.open_connection(*a.address)
                writer.write(sent)
                writer.write_eof()
                await t.until_refused("a", "peer", reason, times=int(before) + 1)
                with suppress(ConnectionError):
                    await reader.read()
                writer.close()
            assert a.events.count("message") == 1
            assert b.transport.send("a", TimeoutNow(8))  # the real one was not disturbed
            await a.events.until("message", "b", TimeoutNow(8))
            server.close()
            await b.transport.close()
            await asyncio.gather(*(each for each in relays if each is not None))
            await server.wait_closed()


@on_every_loop
async def test_a_directory_that_was_put_back_is_let_in_and_a_frame_that_was_cut_is_counted() -> None:
    a = Node("a", peers={"b": ("127.0.0.1", 1)})
    async with started(a):
        for incarnation in (5, 4, 6):
            there = await RawPeer.dial(a.address)
            hello = wire.Hello(1, CLUSTER, "b", "id-b", incarnation, "http://b")
            there.writer.write(wire.encode_greeting(hello))
            assert isinstance(await there.hear(), wire.Hello)
            await there.close()
        assert a.transport.stats.handshakes_refused == 0
        there = await RawPeer.dial(a.address)
        there.say("b", identity="id-b2")
        assert isinstance(await there.hear(), wire.Hello)  # another directory counts its starts anew
        there.writer.write(wire.encode_message(TimeoutNow(1))[:-1])
        await there.close()
        while a.transport.stats.truncated_frames == 0:
            await asyncio.sleep(0.005)
        assert a.events.messages() == []
        # Messages without a hello before them, as of a recorded conversation: no greeting.
        there = await RawPeer.dial(a.address)
        there.writer.write(wire.encode_message(TimeoutNow(1)))
        assert await there.rest() == b""
        await there.close()
        assert a.transport.stats.bad_frames == 1


@on_every_loop
async def test_a_peer_that_hangs_in_the_handshake_is_given_up_and_dialed_again() -> None:
    was, limits.TLS_HANDSHAKE_S_MAX = limits.TLS_HANDSHAKE_S_MAX, 0.1  # type: ignore[misc]
    try:
        async with scene() as t:
            a = t.node("a")
            async with raw_listener() as (address, accepted), started(a):
                a.transport.add_peer("b", address)
                await accepted.get()
                await t.until_refused("a", "peer_dial", "timeout")
                await accepted.get()
    finally:
        limits.TLS_HANDSHAKE_S_MAX = was  # type: ignore[misc]


@on_every_loop
async def test_closing_within_handshakes_leaves_nothing() -> None:
    async with scene() as t:
        for turns in (0, 1, 2, 5, 20):
            a, b = t.node("a"), t.node("b")
            async with started(a, b):
                a.transport.add_peer("b", b.address)
                b.transport.add_peer("a", a.address)
                for _ in range(turns):
                    await asyncio.sleep(0)

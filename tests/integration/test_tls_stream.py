"""TLS over a stream, against the standard library's own: whole data, back pressure, and every way to end."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from kvstore import limits
from kvstore.security.gate import Dialing, Gate
from kvstore.security.refusals import TlsCounts
from tests.integration.test_transport import on_every_loop
from tests.support.pki import Pki

MUCH = os.urandom(1 << 20) * 12


class Recorded(asyncio.Protocol):
    """What a protocol above sees, and its transport."""

    def __init__(self, *, half_close: bool = False) -> None:
        self.half_close = half_close
        self.data = bytearray()
        self.seen: list[str] = []
        self.made = asyncio.Event()
        self.lost = asyncio.Event()
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def eof_received(self) -> bool:
        self.seen.append("eof")
        self.changed.set()
        return self.half_close

    def pause_writing(self) -> None:
        self.seen.append("pause")
        self.changed.set()

    def resume_writing(self) -> None:
        self.seen.append("resume")
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append("lost" if exc is None else f"lost {type(exc).__name__}")
        self.lost.set()

    async def until(self, met: Callable[[], bool]) -> None:
        while not met():
            self.changed.clear()
            await self.changed.wait()


Talk = Callable[[Recorded, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def served(above: Recorded, talk: Talk) -> None:
    """`above` behind a gate; `talk` with it, by the loop's own TLS at the other end."""
    with TemporaryDirectory() as directory:
        pki = Pki(Path(directory))
        keeper = pki.keeper("n1")
        gate = Gate("http", keeper.doors, lambda: above, keeper.counts)
        server = await asyncio.get_running_loop().create_server(gate, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=pki.context())
        await above.made.wait()
        try:
            await talk(above, reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            await above.lost.wait()
            server.close()
            await server.wait_closed()
            await gate.close()


@on_every_loop
async def test_who_does_not_read_holds_the_writer_back_and_gets_everything_in_the_end() -> None:
    async def talk(above: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above.transport.set_write_buffer_limits(high=100_000)
        above.transport.write(MUCH)
        assert above.seen == ["pause"]
        assert above.transport.get_write_buffer_size() > len(MUCH) // 2
        assert await reader.readexactly(len(MUCH)) == MUCH
        await above.until(lambda: above.seen == ["pause", "resume"])
        assert above.transport.get_write_buffer_size() < 100_000

    await served(Recorded(), talk)


@on_every_loop
async def test_reading_can_be_held_back_and_nothing_is_lost_by_it() -> None:
    async def talk(above: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"first")
        await above.until(lambda: above.data == b"first")
        above.transport.pause_reading()
        assert not above.transport.is_reading()
        writer.write(MUCH)
        for _ in range(50):
            await asyncio.sleep(0)
        held = len(above.data)
        assert held < 1 << 20  # at most what was on its way up already
        above.transport.resume_reading()
        await above.until(lambda: len(above.data) == 5 + len(MUCH))
        assert above.data[5:] == MUCH

    await served(Recorded(), talk)


@on_every_loop
async def test_closing_sends_what_is_left_and_then_the_end() -> None:
    async def talk(above: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above.transport.write(MUCH)
        above.transport.close()
        assert above.transport.is_closing()
        above.transport.write(b"never")
        assert await reader.read() == MUCH
        writer.close()
        await above.lost.wait()
        assert above.seen[-1] == "lost"

    await served(Recorded(), talk)


@on_every_loop
async def test_the_end_of_the_other_side_is_told_and_ends_this_one_unless_it_wants_to_go_on() -> None:
    async def end(above: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last")
        writer.close()
        await above.lost.wait()
        assert (bytes(above.data), above.seen) == (b"last", ["eof", "lost"])

    await served(Recorded(), end)

    async def reset(above: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        await above.lost.wait()

    await served(Recorded(), reset)


@on_every_loop
async def test_two_streams_talk_and_either_may_stop_sending_first() -> None:
    with TemporaryDirectory() as directory:
        pki = Pki(Path(directory))
        near_side, far_side = pki.keeper("a"), pki.keeper("b")
        near, far = Recorded(half_close=True), Recorded(half_close=True)
        loop = asyncio.get_running_loop()
        gate = Gate("peer", far_side.peers, lambda: far, TlsCounts())
        server = await loop.create_server(gate, "127.0.0.1", 0)
        dialing = Dialing(near_side.dialing, lambda: near)
        await loop.create_connection(lambda: dialing.stream, *server.sockets[0].getsockname()[:2])
        await dialing.shaken()
        await far.made.wait()
        for here, there in ((near, far), (far, near)):
            here.transport.write(MUCH)
            await there.until(lambda there=there: len(there.data) == len(MUCH))  # type: ignore[misc]
        near.transport.write_eof()
        await far.until(lambda: "eof" in far.seen)
        far.transport.write(b"still")
        await near.until(lambda: near.data.endswith(b"still"))
        far.transport.close()
        await near.until(lambda: "eof" in near.seen)
        near.transport.close()
        await near.lost.wait()
        await far.lost.wait()
        assert near.seen[-1] == far.seen[-1] == "lost"
        server.close()
        await server.wait_closed()


@on_every_loop
async def test_what_comes_behind_the_last_of_a_handshake_does_not_count_as_a_part_of_it() -> None:
    was, limits.TLS_HANDSHAKE_BYTES_MAX = limits.TLS_HANDSHAKE_BYTES_MAX, 2_000  # type: ignore[misc]
    try:
        with TemporaryDirectory() as directory:
            pki = Pki(Path(directory))
            keeper, above = pki.keeper("n1"), Recorded()
            gate = Gate("http", keeper.doors, lambda: above, keeper.counts)
            server = await asyncio.get_running_loop().create_server(gate, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()[:2]
            reader, writer = await asyncio.open_connection(*address)
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = pki.context().wrap_bio(into, out, server_hostname="localhost")
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(out.read())
                    into.write(await reader.read(65_536))
            for start in range(0, 1 << 19, 1 << 14):
                client.write(MUCH[start : start + (1 << 14)])
            writer.write(out.read())  # the last of the handshake and half a MiB behind it, at once
            await above.until(lambda: len(above.data) == 1 << 19)
            assert above.data == MUCH[: 1 << 19]
            writer.close()
            await above.lost.wait()
            # An endless handshake is none.
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"\x16\x03\x01\x3f\xff\x01\x00\xff\xff" + bytes(4_000))
            assert await reader.read() == b""
            assert keeper.counts.refused == {("http", "garbled"): 1}
            writer.close()
            server.close()
            await server.wait_closed()
            await gate.close()
    finally:
        limits.TLS_HANDSHAKE_BYTES_MAX = was  # type: ignore[misc]


@on_every_loop
async def test_a_record_that_was_changed_on_its_way_ends_the_connection() -> None:
    with TemporaryDirectory() as directory:
        pki = Pki(Path(directory))
        keeper = pki.keeper("n1")
        above = Recorded()
        gate = Gate("http", keeper.doors, lambda: above, keeper.counts)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(gate, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], ssl=pki.context())
        await above.made.wait()
        writer.write(b"good")
        await above.until(lambda: above.data == b"good")
        raw = writer.get_extra_info("socket")
        os.write(raw.fileno(), b"\x17\x03\x03\x00\x20" + os.urandom(32))
        await above.lost.wait()
        assert above.seen[-1] == "lost SSLError"
        assert bytes(above.data) == b"good"
        writer.transport.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)

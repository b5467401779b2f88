"""Link proxies over real sockets: what passes, what is kept, what is cut, and the orders that say so."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kvcluster import faults
from kvcluster.faults import NoProxies, faulty_links
from kvcluster.link import Link
from kvcluster.partition import BadPartition
from kvcluster.proxies import run
from kvcluster.topology import HOST, PROXIES, Topology, UnknownNode
from kvstore import limits

SOON_S = 0.1
PATIENCE_S = 10.0


class Door:
    """A listener; `came` gets the streams of each connection."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, port: int = 0) -> int:
        self._server = await asyncio.start_server(self._accept, HOST, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        await self.came.put((reader, writer))

    def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    opened = Door()
    yield opened
    opened.close()


@pytest.fixture
async def link(door: Door) -> AsyncIterator[Link]:
    proxy = Link((HOST, 0), (HOST, await door.open()))
    await proxy.start()
    yield proxy
    await proxy.close()


async def dial(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, link.port)


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE_S)


async def silent(reader: asyncio.StreamReader) -> bool:
    """Nothing comes for a while, not even an end. That nothing happens has no event to wait for."""
    with suppress(TimeoutError):
        await asyncio.wait_for(reader.read(1), SOON_S)
        return False
    return True


async def test_bytes_and_the_end_pass_in_both_directions(link: Link, door: Door) -> None:
    reader, writer = await dial(link)
    writer.write(b"hello")
    there_reader, there_writer = await within(door.came.get())
    assert await within(there_reader.readexactly(5)) == b"hello"
    there_writer.write(b"welcome")
    assert await within(reader.readexactly(7)) == b"welcome"
    writer.close()
    assert await within(there_reader.read()) == b""
    assert link.pipes == set() or await within(emptied(link))


async def emptied(link: Link) -> bool:
    while link.pipes:
        await asyncio.sleep(0.005)
    return True


async def test_the_end_of_the_far_side_passes_too(link: Link, door: Door) -> None:
    reader, writer = await dial(link)
    _, there_writer = await within(door.came.get())
    there_writer.close()
    assert await within(reader.read()) == b""
    writer.close()


async def test_a_stalled_link_keeps_everything_and_releases_it_in_order(link: Link, door: Door) -> None:
    reader, writer = await dial(link)
    there_reader, there_writer = await within(door.came.get())
    link.stall()
    writer.write(b"one")
    there_writer.write(b"back")
    assert await silent(there_reader)
    assert await silent(reader)
    writer.write(b"two")
    link.heal()
    assert await within(there_reader.readexactly(6)) == b"onetwo"
    assert await within(reader.readexactly(4)) == b"back"


async def test_a_connection_that_ended_while_stalled_still_delivers_and_then_ends(link: Link, door: Door) -> None:
    _, writer = await dial(link)
    there_reader, _ = await within(door.came.get())
    link.stall()
    writer.write(b"late")
    writer.close()
    await writer.wait_closed()
    assert await silent(there_reader)
    link.heal()
    assert await within(there_reader.read()) == b"late"


async def test_a_connection_made_while_stalled_reaches_the_target_after_healing(link: Link, door: Door) -> None:
    link.stall()
    _, writer = await dial(link)
    writer.write(b"hello")
    await asyncio.sleep(SOON_S)
    assert door.came.empty()
    link.heal()
    there_reader, _ = await within(door.came.get())
    assert await within(there_reader.readexactly(5)) == b"hello"


async def test_what_is_kept_is_bounded_and_whole_after_healing(link: Link, door: Door) -> None:
    _, writer = await dial(link)
    there_reader, _ = await within(door.came.get())
    link.stall()
    sent = bytes(range(256)) * (3 * limits.LINK_BUFFER_BYTES_MAX // 256)
    writer.write(sent)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.drain(), SOON_S)
    link.heal()
    assert await within(there_reader.readexactly(len(sent))) == sent


async def test_a_reset_link_cuts_connections_and_refuses_new_ones_until_healed(link: Link, door: Door) -> None:
    reader, writer = await dial(link)
    there_reader, _ = await within(door.came.get())
    link.stall()
    writer.write(b"lost")
    await asyncio.sleep(SOON_S)
    link.reset()
    for end in (reader, there_reader):
        with pytest.raises(ConnectionResetError):
            await within(end.read())
    again, _ = await dial(link)
    with pytest.raises(ConnectionResetError):
        await within(again.read())
    link.heal()
    _, writer = await dial(link)
    writer.write(b"anew")
    there_reader, _ = await within(door.came.get())
    assert await within(there_reader.readexactly(4)) == b"anew"


async def test_a_delayed_link_is_late_and_keeps_the_order(link: Link, door: Door) -> None:
    _, writer = await dial(link)
    there_reader, _ = await within(door.came.get())
    link.delay(0.15)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    writer.write(b"one")
    await asyncio.sleep(0.02)
    writer.write(b"two")
    assert await within(there_reader.readexactly(6)) == b"onetwo"
    assert loop.time() - begun >= 0.15
    link.heal()
    begun = loop.time()
    writer.write(b"soon")
    assert await within(there_reader.readexactly(4)) == b"soon"
    assert loop.time() - begun < 0.15


async def test_a_dead_target_ends_the_connection(door: Door) -> None:
    port = await door.open()
    door.close()
    link = Link((HOST, 0), (HOST, port))
    await link.start()
    reader, _ = await dial(link)
    with suppress(ConnectionResetError):
        assert await within(reader.read()) == b""
    assert link.pipes == set()
    await link.close()


async def test_a_side_that_reads_nothing_does_not_fill_the_proxy(link: Link, door: Door) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (HOST, link.port))
    _, there_writer = await within(door.came.get())
    there_writer.write(b"x" * (4 * limits.LINK_BUFFER_BYTES_MAX))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(there_writer.drain(), 3 * SOON_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert await within(emptied(link))


# The process with all links of a cluster, and the orders that it takes.


@pytest.fixture
async def topology(tmp_path: Path) -> AsyncIterator[Topology]:
    # A path that is too long for a socket's name.
    directory = tmp_path / ("long-" * 25)
    directory.mkdir()
    created = Topology.create(directory, 3, proxy=True)
    created.save()
    running = asyncio.create_task(run(directory))
    while not (created.home(PROXIES) / "control").exists():
        assert not running.done(), running.exception()
        await asyncio.sleep(0.005)
    yield created
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_partition_is_shown_and_healed(topology: Topology) -> None:
    assert await asyncio.to_thread(faulty_links, topology) == []
    cut = await asyncio.to_thread(faults.partition, topology, "n1,n2|n3", one_way=True)
    assert cut == [("n1", "n3"), ("n2", "n3")]
    await asyncio.to_thread(faults.partition, topology, "n3|n1", one_way=True, reset=True)
    await asyncio.to_thread(faults.delay, topology, [("n1", "n2")], 20)
    shown = {(link["from"], link["to"]): link for link in await asyncio.to_thread(faulty_links, topology)}
    assert {pair: (link["state"], link["delay_ms"]) for pair, link in shown.items()} == {
        ("n1", "n3"): ("stalled", 0),
        ("n2", "n3"): ("stalled", 0),
        ("n3", "n1"): ("reset", 0),
        ("n1", "n2"): ("open", 20),
    }
    await asyncio.to_thread(faults.heal, topology)
    assert await asyncio.to_thread(faulty_links, topology) == []


async def test_a_link_leads_to_its_node(topology: Topology) -> None:
    door = Door()
    await door.open(topology.node("n3").peer_port)
    port = int(topology.dialed("n1", "n3").rpartition(":")[2])
    _, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"hello")
    there_reader, _ = await within(door.came.get())
    assert await within(there_reader.readexactly(5)) == b"hello"
    door.close()


async def test_an_order_that_makes_no_sense_changes_nothing(topology: Topology) -> None:
    with pytest.raises(UnknownNode, match="n4"):
        await asyncio.to_thread(faults.partition, topology, "n1|n4")
    with pytest.raises(BadPartition):
        await asyncio.to_thread(faults.partition, topology, "n1")
    with pytest.raises(NoProxies, match="not links of this cluster"):
        await asyncio.to_thread(faults.delay, topology, [("n1", "n1")], 20)
    with pytest.raises(NoProxies, match="no such order"):
        await asyncio.to_thread(faults.delay, topology, None, -1)
    assert await asyncio.to_thread(faulty_links, topology) == []


def test_a_cluster_without_proxies_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(NoProxies, match="--proxy"):
        faults.heal(Topology.create(tmp_path, 3))


def test_proxies_that_do_not_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoProxies, match="do not answer"):
        faults.heal(Topology.create(tmp_path, 3, proxy=True))


@pytest.mark.parametrize("there", [0, 1, 4, 9])
async def test_a_link_that_cuts_passes_so_many_bytes_and_resets_both_ends(door: Door, there: int) -> None:
    budgets = iter([there, 5])
    proxy = Link((HOST, 0), (HOST, await door.open()), cut_after=lambda: next(budgets))
    await proxy.start()
    try:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        far_reader, far_writer = await door.came.get()
        writer.write(b"0123")
        if there >= 4:
            assert await far_reader.readexactly(4) == b"0123"
            far_writer.write(b"abc")
            assert await reader.readexactly(3) == b"abc"
            far_writer.write(b"defg")
            with suppress(ConnectionError):
                assert (await reader.read(9)) in (b"de", b"")
        with suppress(ConnectionError):
            assert len(await far_reader.read()) <= there
        async with asyncio.timeout(PATIENCE_S):
            while not (reader.at_eof() or reader.exception()):
                with suppress(ConnectionError):
                    await reader.read()
        assert proxy.cuts_total == 1
        assert not proxy.pipes
        writer.close()
    finally:
        await proxy.close()

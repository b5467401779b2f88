"""A watcher that is disconnected again and again, also by killed leaders, sees every event once, in order."""

import asyncio
import random

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient, AsyncWatch, Put, WatchEvent, WriteResult
from kvstore.client.txn import Put as PutStep

PATIENCE_S = 60.0
WRITES_AT_ONCE = 100


async def write(client: AsyncClient, count: int) -> dict[int, int]:
    """`count` writes, some of them several at one revision; how many events each revision has."""
    expected: dict[int, int] = {}
    keys = [b"w/%d" % number for number in range(WRITES_AT_ONCE)]
    written = 0
    while written < count:
        told = await client.batch([Put(key, b"%d" % written) for key in keys[:-3]])
        for each in told:
            assert isinstance(each, WriteResult), each
            assert each.revision is not None
            expected[each.revision] = expected.get(each.revision, 0) + 1
        several = await client.txn(then=[PutStep(key, b"%d" % written) for key in keys[-3:]])
        expected[several.revision] = 3
        written += WRITES_AT_ONCE
    return expected


async def follow(watch: AsyncWatch, seen: list[WatchEvent]) -> None:
    async for event in watch:
        if event.key == b"w/end":
            return
        seen.append(event)


async def disconnect(watch: AsyncWatch, times: int, done: asyncio.Event) -> int:
    """Cuts the connection of the watch at random moments, until `times` or `done`."""
    chance = random.Random(7)
    cut = 0
    while cut < times and not done.is_set():
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        stream = watch._line.stream
        if stream is not None:
            stream.close()
            cut += 1
    return cut


async def kill_leaders(cluster: Cluster, times: int) -> None:
    for _ in range(times):
        leader = cluster.leader()
        if leader is not None:
            await asyncio.to_thread(cluster.kill, leader)
            await asyncio.to_thread(cluster.restart, leader)
        await asyncio.sleep(0.5)


async def run(cluster: Cluster, writes: int, cuts: int, kills: int) -> None:
    endpoints = cluster.topology.endpoints
    async with (
        AsyncClient(endpoints, timeout_s=PATIENCE_S) as writer,
        AsyncClient(endpoints, timeout_s=PATIENCE_S, balance="round_robin") as reader,
    ):
        done = asyncio.Event()
        seen: list[WatchEvent] = []
        async with reader.watch(prefix=b"w/") as watch:
            following = asyncio.create_task(follow(watch, seen))
            cutting = asyncio.create_task(disconnect(watch, cuts, done))
            killing = asyncio.create_task(kill_leaders(cluster, kills))
            expected = await write(writer, writes)
            if not cutting.done():
                # What is left of the cuts falls into quiet times: they must do no harm either.
                await asyncio.wait_for(cutting, PATIENCE_S)
            done.set()
            assert await cutting == cuts
            await killing
            await writer.put(b"w/end", b"")
            await asyncio.wait_for(following, PATIENCE_S)
    assert sum(expected.values()) == writes
    revisions = [event.revision for event in seen]
    assert revisions == sorted(revision for revision, count in expected.items() for _ in range(count))
    assert len({(event.revision, event.key) for event in seen}) == len(seen) == writes


async def test_every_event_once_in_order(kv_cluster: ClusterFactory) -> None:
    await run(kv_cluster(3), writes=3_000, cuts=15, kills=1)


@pytest.mark.long
async def test_every_event_once_in_order_over_a_hundred_disconnections(kv_cluster: ClusterFactory) -> None:
    await run(kv_cluster(3), writes=50_000, cuts=100, kills=5)

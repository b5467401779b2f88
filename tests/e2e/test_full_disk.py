"""Disks of a live cluster that fill up: 507 once a majority has no room, reads and deletes go on, no restart needed."""

import asyncio
import resource
import time

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from kvstore.errors import StorageFull
from kvstore.limits import SEGMENT_BYTES, VALUE_BYTES_MAX

PATIENCE_S = 30.0
VALUE = b"v" * VALUE_BYTES_MAX


def limit_files(cluster: Cluster, names: list[str], size: int = SEGMENT_BYTES - 1) -> None:
    """Let these nodes make no file of `size` bytes or more: no segment can be allocated, those that are there are good.

    To a journal that is a full disk, and it needs no privileges.
    """
    for name in names:
        process = cluster.process(name)
        assert process is not None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def test_a_full_majority_refuses_puts_only_and_recovers_without_a_restart(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    leader = cluster.leader()
    full = [name for name in cluster.topology.names if name != leader]
    acknowledged = []
    async with AsyncClient(cluster.topology.endpoints, timeout_s=20) as client:
        limit_files(cluster, full)
        refused: StorageFull | None = None
        for number in range(4 * SEGMENT_BYTES // VALUE_BYTES_MAX):
            key = b"key%d" % number
            try:
                await client.put(key, VALUE, timeout_s=2)
                acknowledged.append(key)
            except StorageFull as error:
                refused = error
                break
        assert refused is not None, "the disks never filled up: the test shows nothing"
        assert refused.outcome == "not_applied"
        assert len(acknowledged) * VALUE_BYTES_MAX > SEGMENT_BYTES // 2
        assert await client.get_value(acknowledged[0]) == VALUE
        gone = acknowledged.pop()
        assert (await client.delete(gone)).outcome == "committed"

        limit_files(cluster, full, resource.RLIM_INFINITY)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                await client.put(b"after", b"room", level="all", timeout_s=2)
                break
            except StorageFull:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)  # room is noticed at a heartbeat, of which nobody outside is told
        for name in cluster.topology.names:
            async with AsyncClient([cluster.topology.node(name).http]) as one:
                for key in acknowledged:
                    assert await one.get_value(key) == VALUE
                assert await one.get(gone) is None


@pytest.mark.parametrize("victim_leads", [True, False])
async def test_one_full_disk_stops_nobody(kv_cluster: ClusterFactory, victim_leads: bool) -> None:
    cluster = kv_cluster(3)
    leader = cluster.leader()
    victim = next(name for name in cluster.topology.names if (name == leader) is victim_leads)
    async with AsyncClient(cluster.topology.endpoints, timeout_s=20) as client:
        limit_files(cluster, [victim])
        for number in range(4 * SEGMENT_BYTES // VALUE_BYTES_MAX):
            await client.put(b"key%d" % number, VALUE)
        limit_files(cluster, [victim], resource.RLIM_INFINITY)
        await client.put(b"after", b"room", timeout_s=PATIENCE_S)
    async with AsyncClient([cluster.topology.node(victim).http], timeout_s=PATIENCE_S) as one:
        assert await one.get_value(b"after") == b"room"

"""Batches against real nodes that are killed: each increment counts once, in every kind of batch, from both clients."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient, Client, Get, Put
from kvstore.client.results import WriteResult
from kvstore.model.results import Record

INCREMENTS = 40
PATIENCE_S = 60.0


async def kill_leaders(cluster: Cluster, done: asyncio.Event) -> None:
    while not done.is_set():
        leader = cluster.leader()
        if leader is not None:
            await asyncio.to_thread(cluster.kill, leader)
            await asyncio.to_thread(cluster.restart, leader)
        await asyncio.sleep(0.3)


async def test_increments_in_batches_count_once_while_leaders_are_killed(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    endpoints = cluster.topology.endpoints
    done = asyncio.Event()
    killing = asyncio.create_task(kill_leaders(cluster, done))

    async def count(client: AsyncClient, key: bytes) -> None:
        revision = (await client.put(key, b"0", if_absent=True)).revision
        for number in range(1, INCREMENTS + 1):
            revision = (await client.put(key, b"%d" % number, if_revision=revision)).revision

    async def batches(client: AsyncClient, stem: bytes) -> None:
        keys = [stem + b"/%d" % number for number in range(300)]
        revisions: list[int | None] = [None] * len(keys)
        for turn in range(10):
            told = await client.batch(
                [
                    Put(key, b"%d" % turn, if_revision=revision, if_absent=revision is None)
                    for key, revision in zip(keys, revisions, strict=True)
                ]
            )
            assert all(isinstance(each, WriteResult) for each in told), [each for each in told if each][:3]
            revisions = [each.revision for each in told if isinstance(each, WriteResult)]

    def blocking() -> None:
        with Client(endpoints, timeout_s=PATIENCE_S, balance="round_robin") as client:
            revision = client.put(b"blocking", b"0", if_absent=True).revision
            for number in range(1, INCREMENTS + 1):
                (told,) = client.batch([Put(b"blocking", b"%d" % number, if_revision=revision)])
                assert isinstance(told, WriteResult), told
                revision = told.revision

    async with (
        AsyncClient(endpoints, timeout_s=PATIENCE_S, batching=True, balance="least_connections") as automatic,
        AsyncClient(endpoints, timeout_s=PATIENCE_S) as explicit,
    ):
        with ThreadPoolExecutor(1) as pool:
            thread = asyncio.get_running_loop().run_in_executor(pool, blocking)
            keys = [b"counter/%d" % number for number in range(16)]
            await asyncio.gather(*(count(automatic, key) for key in keys), batches(explicit, b"batch"), thread)
        done.set()
        await killing
        assert automatic.retries + explicit.retries > 0
        found = await explicit.batch([Get(key, "all") for key in [*keys, b"blocking"]])
        versions = [each.version for each in found if isinstance(each, Record)]
        assert versions == [INCREMENTS + 1] * 17
        found = await explicit.batch([Get(b"batch/%d" % number) for number in range(300)])
        assert [each.version for each in found if isinstance(each, Record)] == [10] * 300

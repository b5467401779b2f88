"""Linearizable reads of a live cluster: nothing is written to the log for them, and they share rounds."""

import asyncio

import aiohttp

from kvcluster import probe
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from tests.support.logs import until_log


def metric(cluster: Cluster, node: str, name: str) -> float:
    told = probe.metric(cluster.topology.node(node), name)
    assert told is not None
    return told


async def read_at_once(url: str, count: int) -> None:
    """`count` reads over connections of their own, all under way together."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=count)) as session:

        async def read() -> None:
            async with session.get(url) as answer:
                assert (answer.status, await answer.read()) == (200, b"value")

        for _ in range(5):
            await asyncio.gather(*(read() for _ in range(count)))


async def test_quorum_reads_on_a_follower_share_rounds_and_leave_the_log_alone(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    leader = cluster.leader()
    assert leader is not None
    follower = next(name for name in cluster.topology.names if name != leader)
    await until_log(cluster, leader, "members_changed")  # the first leader's own entry about identities
    async with AsyncClient(cluster.topology.endpoints) as client:
        await client.put(b"key", b"value", level="all")
    before = metric(cluster, leader, "kv_raft_last_index"), metric(cluster, leader, "kv_raft_term")
    await read_at_once(f"{cluster.topology.node(follower).http}/v1/kv/key", 64)
    assert (metric(cluster, leader, "kv_raft_last_index"), metric(cluster, leader, "kv_raft_term")) == before
    reads = metric(cluster, follower, "kv_read_index_forwarded_total")
    questions = metric(cluster, follower, "kv_read_index_questions_total")
    assert reads >= 320
    assert questions < reads / 2
    rounds = metric(cluster, leader, "kv_raft_read_rounds_total")
    assert 0 < rounds <= metric(cluster, leader, "kv_raft_reads_total")

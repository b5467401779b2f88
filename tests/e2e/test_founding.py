"""Empty directories of real nodes: members that lost their disks found no second cluster; a new one waits for all."""

import shutil

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster, NotReady
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError
from tests.support.logs import until_log


def lose_disks(cluster: Cluster, *names: str) -> None:
    """All of them die and lose everything."""
    for name in names:
        cluster.kill(name)
    for name in names:
        shutil.rmtree(cluster.topology.data_dir(name))


async def test_two_of_three_that_lost_their_disks_wait_for_the_log_of_the_third(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    left = cluster.leader()
    assert left is not None
    lost = [name for name in cluster.topology.names if name != left]
    await until_log(cluster, left, "members_changed")  # identities are bound
    async with AsyncClient(cluster.topology.endpoints) as client:
        await client.put(b"kept", b"1", level="all")
    lose_disks(cluster, *lost)
    for name in lost:
        cluster.start(name)
    for name in lost:
        await until_log(cluster, name, "first_election_waits")
        async with AsyncClient([cluster.topology.node(name).http]) as client:
            with pytest.raises((KvError, LocalError)):
                await client.put(b"kept", b"2", timeout_s=1.5)
    with pytest.raises(NotReady, match=f"waits for {left}"):
        cluster.wait_ready(lost, 1.0)
    async with AsyncClient([cluster.topology.node(left).http]) as client:
        record = await client.get(b"kept", level="one")
        assert record is not None
        assert record.value == b"1"


async def test_a_new_cluster_says_whom_it_waits_for_and_goes_on_without_when_told(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    *present, missing = cluster.topology.names
    lose_disks(cluster, *cluster.topology.names)
    for name in present:
        cluster.start(name)
    for name in present:
        await until_log(cluster, name, "first_election_waits")
    with pytest.raises(NotReady, match=f"waits for {missing}"):
        cluster.wait_ready(present, 1.0)
    told = Cluster.open(cluster.topology.directory, env={"KV_BOOTSTRAP_INCOMPLETE": "true"})
    for name in present:
        told.kill(name)
        told.start(name)
    told.wait_ready(present, 20.0)
    async with AsyncClient([cluster.topology.node(name).http for name in present]) as client:
        assert (await client.put(b"k", b"v")).outcome == "committed"
    cluster.start(missing)
    cluster.wait_ready([missing], 20.0)
    async with AsyncClient([cluster.topology.node(missing).http]) as client:
        assert (await client.put(b"k", b"w", level="all")).outcome == "committed"

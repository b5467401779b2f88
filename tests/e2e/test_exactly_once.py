"""Level ONE exactly once: batches lost on their way, a directory put back from a copy, one key given to two nodes."""

import asyncio
import shutil

import pytest

from kvcluster.faults import heal, partition
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvjepsen.convergence import converge
from kvjepsen.frame import table
from kvjepsen.handed import Handed
from kvjepsen.lostbatches import lost_batches
from kvstore.client import AsyncClient
from kvstore.errors import IdempotencyConflict

PATIENCE_S = 30.0


@pytest.mark.parametrize("times", [4, pytest.param(200, marks=pytest.mark.long)])
async def test_a_batch_or_its_answer_lost_on_its_way_is_sent_again_and_applied_once(
    kv_cluster: ClusterFactory, times: int
) -> None:
    outcome = await lost_batches(kv_cluster(3, proxy=True), times=times, seed=times, progress=print)
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"


async def ones(cluster: Cluster, name: str, handed: Handed, stem: str, count: int) -> None:
    """Writes at level ONE at one node, each on two keys: one of its own and one that all share."""
    async with AsyncClient([cluster.topology.node(name).http], timeout_s=PATIENCE_S) as client:
        for number in range(count):
            for key in (b"shared", f"{stem}/{number}".encode()):
                await handed.one(client, key, f"{stem} {number}".encode())


async def drained(cluster: Cluster, key: bytes) -> None:
    """Return once every voter has handed over what it had acknowledged: a read at ALL waits for that."""
    async with AsyncClient(cluster.topology.endpoints, timeout_s=PATIENCE_S) as client:
        await client.get(key, level="all")


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_data_directory_put_back_from_a_copy_doubles_nothing_and_its_new_writes_count(
    kv_cluster: ClusterFactory, times: int
) -> None:
    """Each time the restored node makes an epoch that may be above or below the one that it has forgotten: a coin."""
    cluster, handed = kv_cluster(3), Handed()
    name = next(each for each in cluster.topology.names if each != cluster.leader())
    directory = cluster.topology.data_dir(name)
    copy = directory.with_name("copy")
    for time in range(times):
        await ones(cluster, name, handed, f"before {time}", 5)
        await drained(cluster, b"shared")
        await asyncio.to_thread(cluster.kill, name)
        shutil.copytree(directory, copy)
        await asyncio.to_thread(cluster.restart, name)
        await ones(cluster, name, handed, f"after {time}", 5)
        await drained(cluster, b"shared")
        await asyncio.to_thread(cluster.kill, name)
        shutil.rmtree(directory)
        copy.rename(directory)
        await asyncio.to_thread(cluster.start, name)
        # At once, while the node knows nothing of what it did since the copy was made.
        await ones(cluster, name, handed, f"restored {time}", 5)
        await asyncio.to_thread(cluster.wait_ready, [name], PATIENCE_S)
        await ones(cluster, name, handed, f"caught up {time}", 5)
        # Now, because what a restored node had to give another epoch it knows by its receipt until it ends.
        async with AsyncClient(cluster.topology.endpoints) as client:
            assert await handed.settle(client, PATIENCE_S) == []
    await converge(cluster)
    _, wrong = await handed.check({node.name: node.http for node in cluster.topology.nodes})
    assert wrong == []


async def test_one_idempotency_key_given_to_two_nodes_has_one_effect(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3, proxy=True)
    first, second, third = cluster.topology.names
    async with (
        AsyncClient([cluster.topology.node(first).http], timeout_s=PATIENCE_S) as one,
        AsyncClient([cluster.topology.node(second).http], timeout_s=PATIENCE_S) as two,
        AsyncClient([cluster.topology.node(third).http], timeout_s=PATIENCE_S) as three,
    ):
        partition(cluster.topology, f"{first}|{second}|{third}")
        # Nobody can know what the others have taken.
        same = [await each.put(b"same", b"v", level="one", idempotency_key="same") for each in (one, two)]
        differs = [
            await one.put(b"differs", b"1", level="one", idempotency_key="differs"),
            await two.put(b"differs", b"2", level="one", idempotency_key="differs"),
        ]
        # Its own node knows both at once.
        again = await one.put(b"same", b"v", level="one", idempotency_key="same")
        assert again.receipt == same[0].receipt
        with pytest.raises(IdempotencyConflict) as refused:
            await one.put(b"same", b"other", level="one", idempotency_key="same")
        assert refused.value.outcome == "not_applied"
        heal(cluster.topology)

        told = [await three.wait_receipt(each.receipt or "", PATIENCE_S) for each in same]
        assert [each.state for each in told] == ["committed"] * 2
        assert told[0].revision == told[1].revision
        record = await three.get(b"same")
        assert record is not None
        first_revision = told[0].revision
        assert (record.value, record.version, record.mod_revision) == (b"v", 1, first_revision)

        told = [await three.wait_receipt(each.receipt or "", PATIENCE_S) for each in differs]
        assert sorted((each.state, each.reason) for each in told) == [
            ("committed", None),
            ("superseded", "conflict"),
        ]
        winner = 0 if told[0].state == "committed" else 1
        record = await three.get(b"differs")
        assert record is not None
        assert (record.value, record.version) == (b"12"[winner : winner + 1], 1)

        # At QUORUM the key means the same: the first answer, or a conflict.
        repeated = await three.put(b"same", b"v", idempotency_key="same")
        assert (repeated.revision, repeated.version) == (first_revision, 1)
        with pytest.raises(IdempotencyConflict):
            await three.put(b"same", b"other", idempotency_key="same")
    await converge(cluster)

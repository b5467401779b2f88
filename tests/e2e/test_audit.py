"""The audit against a real node: it passes what is right, and finds what was changed behind the ledger's back."""

import shutil

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvjepsen.audit import Audit, audit, audit_by_range
from kvjepsen.ledger import Ledger
from kvjepsen.recording import RecordingClient
from kvstore.client import AsyncClient
from kvstore.errors import NotFound, PreconditionFailed

KEYS = [b"audit/%02d" % number for number in range(20)]


@pytest.fixture
def cluster(kv_cluster: ClusterFactory) -> Cluster:
    return kv_cluster(1)


async def written(cluster: Cluster) -> Ledger:
    """Twenty keys put, the last one deleted again, and two writes refused."""
    ledger = Ledger()
    async with RecordingClient(cluster.topology.endpoints, ledger) as client:
        for key in KEYS:
            await client.put(key, b"value of " + key)
        await client.delete(KEYS[-1])
        with pytest.raises(NotFound):
            await client.delete(KEYS[-1])
        with pytest.raises(PreconditionFailed):
            await client.put(KEYS[0], b"refused", if_absent=True)
    assert (ledger.acknowledged, ledger.refused, ledger.unknown) == (21, 2, 0)
    return ledger


async def both(cluster: Cluster, ledger: Ledger) -> list[Audit]:
    nodes = {node.name: node.http for node in cluster.topology.nodes}
    return [await audit(ledger, nodes), await audit_by_range(ledger, nodes, [b"audit/"])]


def kinds(audit: Audit) -> dict[bytes, str]:
    """What was found at each key, which both levels must agree on."""
    assert len(audit.findings) == 2 * len({finding.key for finding in audit.findings})
    return {finding.key: finding.kind for finding in audit.findings}


async def test_what_was_acknowledged_is_found_at_every_level(cluster: Cluster) -> None:
    for done in await both(cluster, await written(cluster)):
        assert done.findings == []
        assert done.reads == 2 * len(KEYS)


async def test_changes_behind_the_ledgers_back_are_found(cluster: Cluster) -> None:
    ledger = await written(cluster)
    async with AsyncClient(cluster.topology.endpoints) as client:
        await client.delete(KEYS[3])
        await client.put(KEYS[5], b"another value")
        await client.put(b"audit/stranger", b"")
    one_by_one, by_range = await both(cluster, ledger)
    assert kinds(one_by_one) == {KEYS[3]: "lost", KEYS[5]: "altered"}
    assert kinds(by_range) == {KEYS[3]: "lost", KEYS[5]: "altered", b"audit/stranger": "invented"}


async def test_a_node_that_lost_its_data_is_found_out(cluster: Cluster) -> None:
    ledger = await written(cluster)
    cluster.kill("n1")
    shutil.rmtree(cluster.topology.data_dir("n1"))
    cluster.restart("n1")
    for done in await both(cluster, ledger):
        assert kinds(done) == dict.fromkeys(KEYS[:-1], "lost")


async def test_a_node_that_does_not_answer_has_not_passed(cluster: Cluster) -> None:
    ledger = await written(cluster)
    cluster.kill("n1")
    one_by_one, by_range = await both(cluster, ledger)
    assert {finding.kind for finding in one_by_one.findings} == {"unreadable"}
    assert {finding.kind for finding in by_range.findings} == {"unreadable"}

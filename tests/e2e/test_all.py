"""Level ALL with a voter that is paused, and with one that holds something else than the others."""

import asyncio

import pytest

from kvcluster import probe
from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.allpaused import all_paused
from kvjepsen.faulty import PROGRAM, order
from kvjepsen.frame import table
from kvstore.client import AsyncClient
from kvstore.errors import Divergence


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.long)])
async def test_a_write_at_all_is_not_acknowledged_without_a_voter(kv_cluster: ClusterFactory, times: int) -> None:
    outcome = await all_paused(kv_cluster(3, proxy=True), times=times, seed=times, progress=print)
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"


@pytest.mark.parametrize("altered_leads", [False, True])
async def test_a_key_altered_on_one_replica_is_an_alarm_and_never_an_answer(
    kv_cluster: ClusterFactory, altered_leads: bool
) -> None:
    cluster = kv_cluster(3, program=PROGRAM)
    leader = cluster.leader()
    assert leader is not None
    altered = leader if altered_leads else next(name for name in cluster.topology.names if name != leader)
    async with AsyncClient(cluster.topology.endpoints) as client:
        await client.put(b"bad", b"value", level="all")
        await client.put(b"good", b"value", level="all")
        await asyncio.to_thread(order, cluster, altered, alter="bad")
        for node in cluster.topology.nodes:
            async with AsyncClient([node.http]) as through:
                assert await through.get_value(b"good", level="all") == b"value"
                with pytest.raises(Divergence) as raised:
                    await through.get(b"bad", level="all")
                assert (raised.value.status, raised.value.code) == (500, "divergence")
                assert altered in raised.value.detail
                # Whoever asks has it, and the level below does not look.
                assert (await through.get_value(b"bad", level="one")) in (b"value", b"walue")
        for node in cluster.topology.nodes:
            async with AsyncClient([node.http]) as through:
                alarms = (await through.cluster()).alarms
            assert {alarm["code"] for alarm in alarms} == {"divergence"}, node
            assert any("bad" in alarm["detail"] for alarm in alarms)
            assert (probe.metric(node, 'kv_alarms{code="divergence"}') or 0) >= 1
        # The next write of the key ends the difference, but not the alarm: somebody has to look.
        await client.put(b"bad", b"value again", level="all")
        assert await client.get_value(b"bad", level="all") == b"value again"
        assert (await client.cluster()).alarms

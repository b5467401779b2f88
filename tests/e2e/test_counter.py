"""Every increment counts once, whatever happens to the connections, the leaders and the snapshots."""

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.counter import SETTINGS, counter
from kvjepsen.frame import table


@pytest.mark.parametrize("increments", [500, pytest.param(10_000, marks=pytest.mark.long)])
async def test_increments_over_cut_connections_count_exactly_once(kv_cluster: ClusterFactory, increments: int) -> None:
    outcome = await counter(kv_cluster(3, env=SETTINGS), increments=increments, seed=increments, progress=print)
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"
    assert outcome.acknowledged + outcome.unknown >= increments

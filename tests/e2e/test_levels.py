"""The promised combinations of write and read level never miss an acknowledged write, whatever happens to the nodes."""

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.frame import table
from kvjepsen.levels import PROMISED, SAME_NODE, SETTINGS, levels


@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=pytest.mark.long)])
async def test_promised_combinations_of_levels_miss_nothing(kv_cluster: ClusterFactory, seconds: int) -> None:
    outcome = await levels(kv_cluster(3, env=SETTINGS, proxy=True), seconds=seconds, seed=seconds, progress=print)
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"
    assert sum(outcome.missed[each] for each in (*PROMISED, SAME_NODE)) == 0

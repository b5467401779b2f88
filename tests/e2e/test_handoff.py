"""Writes at level ONE outlive what they are promised to outlive, and lose only to what is newer."""

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.frame import table
from kvjepsen.handoff import SETTINGS, handoff
from kvjepsen.supersession import supersession


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.long)])
async def test_the_last_node_alive_killed_after_its_202_loses_and_doubles_nothing(
    kv_cluster: ClusterFactory, kills: int
) -> None:
    outcome = await handoff(kv_cluster(3, env=SETTINGS), kills=kills, seed=kills, progress=print)
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.long)])
async def test_on_the_wrong_side_of_a_partition_the_later_write_wins(kv_cluster: ClusterFactory, times: int) -> None:
    outcome = await supersession(kv_cluster(3, proxy=True), times=times, seed=times, progress=print)
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"
    # Three writes of each partition are superseded and four are not, wherever its leader was.
    assert (outcome.superseded, outcome.committed) == (3 * times, 4 * times)

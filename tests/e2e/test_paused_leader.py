"""A leader that slept through its own replacement never answers a QUORUM read with what was true before."""

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.pausedleader import paused_leader


@pytest.mark.parametrize("times", [3, pytest.param(200, marks=pytest.mark.long)])
async def test_a_woken_leader_answers_no_stale_read(kv_cluster: ClusterFactory, times: int) -> None:
    cluster = kv_cluster(3, proxy=True)
    outcome = await paused_leader(cluster, times=times, seed=times, progress=print)
    print(*(f"{name:<34}{value}" for name, value in outcome.rows()), sep="\n")
    assert outcome.stale == []
    assert outcome.problem is None
    assert outcome.verdict == "passed"
    # The same instrument does find stale reads where they are allowed.
    assert (await paused_leader(cluster, times=1, seed=1, level="one")).stale

"""Any process killed at any moment under load: nothing acknowledged is lost, and all nodes end up the same."""

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.crashloop import NODE_SETTINGS, crash_loop


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
async def test_kills_at_random_moments_lose_nothing(kv_cluster: ClusterFactory, kills: int) -> None:
    cluster = kv_cluster(3, env=NODE_SETTINGS)
    outcome = await crash_loop(cluster, kills=kills, seed=kills, progress=print)
    print(*(f"{name:<30}{value}" for name, value in outcome.rows()), sep="\n")
    assert outcome.findings == []
    assert outcome.problem is None
    assert outcome.verdict == "passed"
    assert outcome.kills >= kills

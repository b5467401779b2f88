"""When nodes count as holding the same: equal digests at one index that covers everything committed."""

from pathlib import Path
from typing import Any

import pytest

from kvcluster import probe
from kvcluster.supervisor import Cluster
from kvcluster.topology import NodeSpec, Topology
from kvjepsen.convergence import NotConverged, converge

# What each node answers, one answer after the other, the last one for ever: its commit index, and digests by member.
Told = dict[str, list[tuple[int, dict[str, tuple[int, str]]]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """To be filled in by the test."""
    answers: Told = {}

    def view(node: NodeSpec) -> dict[str, Any] | None:
        script = answers.get(node.name)
        if not script:
            return None
        commit, digests = script.pop(0) if len(script) > 1 else script[0]
        members: list[dict[str, Any]] = [
            {"name": name, "digest": {"index": index, "value": value}} for name, (index, value) in digests.items()
        ]
        return {"node": node.name, "commit_index": commit, "members": [*members, {"name": "silent", "digest": None}]}

    monkeypatch.setattr(probe, "cluster_view", view)
    return answers


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(Topology(tmp_path, "t", (NodeSpec("n1", 1, 2), NodeSpec("n2", 3, 4))))


async def test_equal_digests_at_one_index_are_agreement(cluster: Cluster, told: Told) -> None:
    told["n1"] = [(7, {"n1": (7, "aa"), "n2": (7, "aa")})]
    assert await converge(cluster, 1) == (7, "aa")


async def test_it_waits_for_a_node_that_lags(cluster: Cluster, told: Told) -> None:
    told["n1"] = [(7, {"n1": (7, "aa")})]
    told["n2"] = [(5, {"n2": (5, "bb")}), (6, {"n2": (6, "cc")}), (7, {"n2": (7, "aa")})]
    assert await converge(cluster, 5) == (7, "aa")


async def test_different_digests_at_one_index_are_a_failure_at_once(cluster: Cluster, told: Told) -> None:
    told["n1"] = [(7, {"n1": (7, "aa")})]
    told["n2"] = [(7, {"n2": (7, "bb")})]
    with pytest.raises(NotConverged, match="differ at index 7"):
        await converge(cluster, 60)


async def test_two_digests_of_one_node_for_one_index_are_a_failure(cluster: Cluster, told: Told) -> None:
    told["n1"] = [(7, {"n1": (7, "aa")}), (7, {"n1": (7, "bb")})]
    with pytest.raises(NotConverged, match="n1 told two digests for index 7"):
        await converge(cluster, 60)


async def test_agreement_below_what_is_committed_is_not_enough(cluster: Cluster, told: Told) -> None:
    told["n1"] = [(9, {"n1": (7, "aa"), "n2": (7, "aa")})]
    with pytest.raises(NotConverged, match="at or above index 9"):
        await converge(cluster, 0.1)


async def test_a_node_that_says_nothing_is_not_in_agreement(cluster: Cluster, told: Told) -> None:
    told["n1"] = [(7, {"n1": (7, "aa")})]
    with pytest.raises(NotConverged, match="no common digest"):
        await converge(cluster, 0.1)

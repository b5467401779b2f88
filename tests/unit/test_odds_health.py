"""When a cluster counts as whole, before and after a trial."""

from typing import Any

import pytest

from kvjepsen.odds.health import Health, health
from kvstore.model.results import ClusterView, MemberView


def member(name: str, **more: Any) -> MemberView:
    whole: dict[str, Any] = {
        "name": name, "role": "leader" if name == "n1" else "follower", "voter": True, "reachable": True,
        "http": "", "peer": "", "match_index": 7, "applied_index": 7, "intents_pending": 0, "digest": None,
    }  # fmt: skip
    return MemberView(**{**whole, **more})


def view(node: str, *, leader: str | None = "n1", term: int = 2, **second: Any) -> ClusterView:
    """What `node` says of two members; `second`: what is different with n2."""
    members = [member("n1"), member("n2", **second)]
    return ClusterView("c", node, leader, term, 7, 5, members, [])


def test_two_nodes_that_agree_are_whole() -> None:
    assert health([view("n1"), view("n2")]) == Health("n1")


@pytest.mark.parametrize(
    ("views", "why"),
    [
        ([], "0 nodes do not answer"),
        ([view("n1"), None], "1 nodes do not answer"),
        ([view("n1", leader=None)], "the nodes name ['None'] as leaders"),
        ([view("n1"), view("n2", leader="n2")], "the nodes name ['n1', 'n2'] as leaders"),
        ([view("n1"), view("n2", term=3)], "the nodes name ['n1', 'n1'] as leaders"),
        ([view("n1", reachable=False)], "n1 does not reach n2 as a voter"),
        ([view("n1", voter=False)], "n1 does not reach n2 as a voter"),
        ([view("n1", applied_index=6)], "n2 has not caught up"),
        ([view("n1", applied_index=None)], "n2 has not caught up"),
        ([view("n1", intents_pending=1)], "n2 has not caught up"),
    ],
)
def test_what_is_missing_is_named(views: list[ClusterView | None], why: str) -> None:
    assert health(views) == Health(None, why)

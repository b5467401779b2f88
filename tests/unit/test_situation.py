"""What a failure is told with: who leads, who is down, and what to do, from whatever nodes could be asked."""

import pytest

from kvcli.credentials import Credentials
from kvcli.options import Settings
from kvcli.situation import describe, look, told
from kvstore import errors
from kvstore.model.results import ClusterView, MemberView


def view(node: str, leader: str | None, up: str, *, names: str = "n1 n2 n3", term: int = 3) -> ClusterView:
    members = [
        MemberView(name, "follower", name != "n9", name in up.split(), f"http://{name}:1", f"{name}:2", 9, 9, 0, None)
        for name in names.split()
    ]
    return ClusterView("c", node, leader, term, 9, 8, members, [])


def test_a_lost_majority_is_told_by_name() -> None:
    assert describe([view("n1", None, "n1")]) == [
        "no leader: 2 of 3 nodes are down: n2, n3 (as n1 sees it)",
        "start 1 of them again: 2 of 3 voters must run. Until then --level one works",
    ]


def test_a_node_that_another_one_reaches_is_not_down() -> None:
    views = [view("n1", None, "n1"), view("n2", None, "n2 n3")]
    assert describe(views) == ["no leader; an election is under way: try again in a moment"]


def test_all_that_are_down_are_needed() -> None:
    names = "n1 n2 n3 n4 n5"
    found = describe([view("n1", None, "n1", names=names), view("n2", None, "n1 n2", names=names)])
    assert found == [
        "no leader: 3 of 5 nodes are down: n3, n4, n5 (as n1 and n2 see it)",
        "start 1 of them again: 3 of 5 voters must run. Until then --level one works",
    ]
    assert describe([view("n1", None, "n1", names="n1 n2")])[1].startswith("start it again: 2 of 2")
    assert describe([view("n1", None, "n1", names="n1 n2 n3 n4")])[1].startswith("start 2 of them again: 3 of 4")


def test_a_minority_that_is_down_is_told_beside_the_leader() -> None:
    assert describe([view("n2", "n1", "n1 n2")]) == ["n1 leads; 1 of 3 nodes is down: n3"]
    assert describe([view("n2", "n3", "n1 n2")]) == [
        "no leader: 1 of 3 nodes is down: n3; an election is under way: try again in a moment"
    ]


def test_a_learner_that_is_down_is_no_lost_vote() -> None:
    assert describe([view("n1", "n1", "n1 n2 n3", names="n1 n2 n3 n9")]) == ["n1 leads; 1 of 4 nodes is down: n9"]


def test_where_nothing_is_down_nothing_is_said() -> None:
    assert describe([view("n1", "n1", "n1 n2 n3")]) == []
    assert describe([]) == []


@pytest.mark.parametrize("error", [errors.NotFound("x"), errors.BadRequest("x"), errors.CannotConnect("x")])
async def test_nobody_is_asked_where_it_cannot_be_the_reason(error: errors.KvError | errors.LocalError) -> None:
    await look(error, Settings(("http://127.0.0.1:1",), None, 1.0), Credentials())
    assert told(error) == []


async def test_a_majority_that_is_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*_: object) -> dict[str, ClusterView | Exception]:
        return {"http://127.0.0.1:1": view("n2", "n1", "n1 n2 n3"), "http://127.0.0.1:2": errors.CannotConnect("x")}

    monkeypatch.setattr("kvcli.situation.ask", asked)
    error = errors.NoQuorum("1 of 3 voters is reachable")
    await look(error, Settings(("http://127.0.0.1:1",), None, 1.0), Credentials())
    assert told(error) == ["no node is down by now, and n1 leads: try again"]


async def test_who_cannot_be_asked_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.limits.SITUATION_ASK_S_MAX", 0.05)
    error = errors.NoQuorum("1 of 3 voters is reachable")
    await look(error, Settings(("http://127.0.0.1:1",), None, 1.0), Credentials())
    assert told(error) == []

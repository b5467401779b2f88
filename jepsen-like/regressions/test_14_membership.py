"""Fact 14: "one membership change at a time" is dead code, and a change takes effect at apply after a restart.

Engine: `SyncObj.__changeCluster` looks at `__changeClusterIDx`, which nothing ever sets; `SyncObj.__init__` takes the
members from its caller and not from the log.
Here: M1 to M3 (`consensus.membership`): whole sets, effective when appended, folded from snapshot and log, one at
a time.
"""

import pytest

from kvstore.consensus.configuration import Member
from regressions.published import published
from regressions.schedules import restart
from tests.support.lab import Lab, LabNode


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    answer: dict[str, dict[str, object]] = published("membership", tmp_path_factory.mktemp("membership"))
    return answer


def test_the_published_engine_takes_two_changes_at_once(found: dict[str, dict[str, object]]) -> None:
    assert found["two_at_once"] == {"denied": 0, "uncommitted_changes": 2, "others": ["b", "c", "d", "e"]}


def test_a_restarted_published_node_has_forgotten_a_change_in_its_log(found: dict[str, dict[str, object]]) -> None:
    case = found["restart"]
    assert case == {"others_before": ["b", "c", "d"], "entry_survived": True, "others_after": ["b", "c"]}


def with_learner(node: LabNode, name: str) -> str | None:
    seats = (*node.member.configuration.members, Member(name, "", "", False, ""))
    why_not = node.member.change(tuple(sorted(seats)), lambda _result, _index, _error: None)
    return None if why_not is None else str(why_not)


def test_here_the_second_is_refused_until_the_first_is_committed() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    lab.advance(0.1)
    assert with_learner(leader, "d") is None
    assert "one at a time" in str(with_learner(leader, "e"))
    leader.run()
    assert leader.member.configuration.names == ("a", "b", "c", "d")
    lab.advance(0.1, "d")
    assert with_learner(leader, "e") is None


def test_here_two_voters_are_never_changed_at_once() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    lab.advance(0.1)
    voters = tuple(Member(name, "", "", True, "") for name in ("a", "b", "c", "d", "e"))
    assert "only one voter" in str(leader.member.change(voters, lambda _result, _index, _error: None))


def test_here_a_restarted_node_goes_by_what_its_log_says() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    lab.advance(0.1)
    assert with_learner(leader, "d") is None
    leader.run()
    index = leader.member.configuration.index
    assert leader.journal.commit_index < index
    again = restart(lab, leader.name)
    assert again.member.configuration.index == index
    assert again.member.configuration.names == ("a", "b", "c", "d")

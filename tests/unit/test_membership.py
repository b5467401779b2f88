"""Changes of membership: the rules M1 to M5, and members that go through them."""

import pytest

from kvstore.consensus import membership
from kvstore.consensus.configuration import Configuration, Member
from tests.support.lab import Lab, LabNode


def members(*voters: str, learners: tuple[str, ...] = ()) -> tuple[Member, ...]:
    seats = [Member(name, "", "", True, "") for name in voters] + [Member(name, "", "", False, "") for name in learners]
    return tuple(sorted(seats))


def entry(index: int, configuration: Configuration) -> membership.LogEntry:
    return membership.to_command(configuration), index, 1


THREE = Configuration(1, members("a", "b", "c"))


def test_a_configuration_survives_its_way_through_the_log() -> None:
    assert membership.from_command(membership.to_command(THREE)) == THREE


@pytest.mark.parametrize("junk", [b"\x04", b"\x04\xc1", b"\x04\x01", b"\x04\x92\x01\x91\x91\x01", b"\x04\x92\xff\x90"])
def test_junk_is_no_configuration(junk: bytes) -> None:
    with pytest.raises(ValueError, match="not a configuration"):
        membership.from_command(junk)


def test_the_last_configuration_of_the_log_counts_and_a_truncation_brings_back_the_one_before() -> None:
    four = Configuration(3, members("a", "b", "c", "d"))
    log = [(b"\x01", 1, 0), (b"\x00x", 2, 1), entry(3, four), (b"\x00y", 4, 1)]
    assert membership.folded(log, THREE) == four
    assert membership.folded(log, THREE, up_to=2) == THREE
    assert membership.folded(log[:2], THREE) == THREE


def test_only_one_voter_changes_at_a_time_and_only_when_the_change_before_is_committed() -> None:
    def objection(new: tuple[Member, ...], commit: int = 1, may_begin: bool = True) -> str | None:
        found = membership.objection(THREE, new, commit_index=commit, may_begin=may_begin)
        return None if found is None else found.text

    assert objection(members("a", "b", "c", "d")) is None
    assert objection(members("a", "b")) is None
    assert objection(members("a", "b", "c", learners=("d", "e"))) is None
    assert "only one voter" in str(objection(members("a", "b", "c", "d", "e")))
    assert "only one voter" in str(objection(members("a", "b", "d")))
    assert "one at a time" in str(objection(members("a", "b"), commit=0))
    assert "own term" in str(objection(members("a", "b"), may_begin=False))
    assert "at least one voter" in str(objection(members()))


def test_identities_are_bound_once() -> None:
    bound = membership.with_identities(THREE, {"a": "1", "b": "2"})
    assert [member.identity for member in bound] == ["1", "2", ""]
    assert membership.with_identities(Configuration(2, bound), {"a": "9", "c": "3"})[0].identity == "1"


@pytest.fixture
def lab() -> Lab:
    return Lab("n1", "n2", "n3")


def change(node: LabNode, new: tuple[Member, ...]) -> list[object]:
    outcome: list[object] = []
    objection = node.member.change(new, lambda _result, _index, error: outcome.append(error))
    if objection is not None:
        outcome.append(objection.text)
    node.run()
    return outcome


def test_the_patience_with_a_new_member_begins_when_it_becomes_one(lab: Lab) -> None:
    leader = lab.elect()
    leader.propose(b"before")
    lab.settle()
    lab.now += 0.02  # not a step since then
    change(leader, membership.with_learner(leader.member.configuration, "n4", ""))
    assert leader.member.leadership is not None
    assert leader.member.leadership.lag_s("n4") == 0.0
    assert not leader.member.answers("n4"), "it has not answered anything"


def test_a_learner_gets_the_log_counts_in_no_quorum_and_never_campaigns(lab: Lab) -> None:
    leader = lab.elect()
    leader.propose(b"before")
    lab.settle()
    learner = lab.join("n4")
    assert change(leader, membership.with_learner(leader.member.configuration, "n4", "")) == []
    lab.advance(0.3)
    assert learner.log == [b"before"]
    assert [node.member.configuration for node in lab.nodes.values()] == [leader.member.configuration] * 4
    voters = [node.name for node in lab.nodes.values() if node is not learner]
    followers = [name for name in voters if name != leader.name]
    outcome = leader.propose(b"alone with the learner")
    lab.advance(0.2, *followers)
    assert outcome == []
    lab.advance(5.0, *voters, step=0.05)
    assert learner.member.term == leader.member.term or not learner.member.leads
    assert not learner.member.leads


def test_a_promoted_member_makes_the_majority_larger_at_once(lab: Lab) -> None:
    leader = lab.elect()
    lab.join("n4")
    change(leader, membership.with_learner(leader.member.configuration, "n4", ""))
    lab.advance(0.3)
    change(leader, membership.with_promoted(leader.member.configuration, "n4"))
    lab.advance(0.3)
    assert leader.member.configuration.voters == ("n1", "n2", "n3", "n4")
    gone = [name for name in ("n1", "n2", "n3") if name != leader.name]
    outcome = leader.propose(b"two of four")
    lab.advance(0.2, *gone)
    assert outcome == [], "two of four are no majority"
    lab.advance(1.5)
    assert outcome != []


def test_a_second_change_waits_for_the_first(lab: Lab) -> None:
    leader = lab.elect()
    assert change(leader, membership.with_learner(leader.member.configuration, "n4", "")) == []
    refused = change(leader, membership.with_learner(leader.member.configuration, "n5", ""))
    assert "one at a time" in str(refused[0])


def test_a_truncated_configuration_is_taken_back(lab: Lab) -> None:
    old = lab.elect()
    before = old.member.configuration
    change(old, membership.with_learner(before, "n4", ""))
    assert old.member.configuration.names == ("n1", "n2", "n3", "n4")
    lab.advance(1.5, old.name)
    (new,) = lab.leaders()
    new.propose(b"kept")
    lab.advance(0.5)
    assert old.member.configuration == before
    assert all(node.member.configuration == before for node in lab.nodes.values())
    again = LabNode(lab, old.name, old.disk)
    assert again.member.configuration == before


def test_a_removed_member_is_no_longer_needed_nor_heard(lab: Lab) -> None:
    leader = lab.elect()
    gone = next(node for node in lab.nodes.values() if node is not leader)
    outcome = change(leader, membership.without(leader.member.configuration, gone.name))
    lab.advance(0.3)
    assert outcome == [None]
    term = leader.member.term
    lab.advance(3.0, step=0.05)
    assert leader.member.leads
    assert leader.member.term == term, "a removed member must not disturb those who are left"
    other = next(node for node in lab.nodes.values() if node not in (leader, gone))
    written = leader.propose(b"two of two")
    lab.advance(0.2, other.name)
    assert written == []

"""When followers hear that something is committed: with the next entries, after a moment, or at once."""

import pytest

from kvstore.consensus.leading import COMMIT_UNTOLD_BUSY_S_MAX, COMMIT_UNTOLD_S_MAX
from tests.support.lab import Lab, LabNode


@pytest.fixture
def lab() -> Lab:
    return Lab("n1", "n2", "n3")


def committed_here_only(lab: Lab, leader: LabNode) -> LabNode:
    """A follower that has an entry, and has not heard that it is committed."""
    follower = next(node for node in lab.nodes.values() if node is not leader)
    leader.propose(b"x")
    lab.deliver((leader.name, follower.name))
    lab.deliver((follower.name, leader.name))
    assert leader.log[-1:] == [b"x"] != follower.log[-1:]
    return follower


def told_within(lab: Lab, leader: LabNode, follower: LabNode, seconds: float) -> bool:
    """Whether it hears of it when so much time passes, and nothing else happens."""
    lab.now += seconds
    leader.run()
    while lab.wires[leader.name, follower.name]:
        lab.deliver((leader.name, follower.name))
    return follower.log[-1:] == [b"x"]


def test_a_single_write_is_told_after_a_moment(lab: Lab) -> None:
    leader = lab.elect()
    lab.advance(1.0)
    follower = committed_here_only(lab, leader)
    assert told_within(lab, leader, follower, 2 * COMMIT_UNTOLD_S_MAX)


def test_where_writes_follow_each_other_it_travels_with_the_next(lab: Lab) -> None:
    leader = lab.elect()
    lab.advance(1.0)
    leader.propose(b"before")
    lab.settle()
    follower = committed_here_only(lab, leader)
    assert not told_within(lab, leader, follower, 2 * COMMIT_UNTOLD_S_MAX)
    leader.propose(b"y")
    assert told_within(lab, leader, follower, 0.0)


def test_and_without_a_next_one_after_a_longer_moment(lab: Lab) -> None:
    leader = lab.elect()
    lab.advance(1.0)
    leader.propose(b"before")
    lab.settle()
    follower = committed_here_only(lab, leader)
    assert told_within(lab, leader, follower, COMMIT_UNTOLD_BUSY_S_MAX + COMMIT_UNTOLD_S_MAX)


def test_who_waits_for_a_read_at_a_follower_is_told_at_once(lab: Lab) -> None:
    leader = lab.elect()
    lab.advance(1.0)
    leader.propose(b"before")
    lab.settle()
    follower = committed_here_only(lab, leader)
    leader.member.tell_commit()
    assert told_within(lab, leader, follower, 0.0)

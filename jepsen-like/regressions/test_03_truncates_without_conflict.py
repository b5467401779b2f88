"""Fact 3: a follower cuts its log behind prevLogIdx without a conflict, applied entries too, on a healthy cluster.

Engine: `SyncObj.__onMessageReceived` (append_entries) deletes whatever follows prevLogIdx; as a leader it moves
nextIndex back on every acknowledgement (next_node_idx), so that it sends again what is there already.
Here: R1 (`rules.normalise_append`), and `Leadership.append_reply` never moves the next index back on success.
"""

from pathlib import Path

from kvstore.consensus import messages as wire
from regressions.published import published
from regressions.schedules import followers
from tests.support.lab import Lab


def test_the_published_engine_loses_what_it_acknowledged_and_cuts_what_it_applied(tmp_path: Path) -> None:
    found = published("truncates", tmp_path)
    assert found["acknowledged"] == 5
    assert found["lost"] == 2
    assert found["last_index"] < found["applied_index"]


def test_here_late_acknowledgements_make_nothing_be_sent_again() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    follower = followers(lab, leader)[0]
    there, back = (leader.name, follower.name), (follower.name, leader.name)
    for number in range(5):
        leader.propose(b"%d" % number)
        lab.deliver(there)
    complete = list(follower.journal.entries)
    assert complete == leader.journal.entries
    lab.deliver(back)
    lab.now += 0.06
    leader.run()
    sent = [message for message in lab.wires[there] if isinstance(message, wire.Append)]
    assert sent
    assert [message.entries for message in sent] == [[]] * len(sent)
    while lab.deliver(there):
        assert follower.journal.entries == complete
        assert follower.journal.durable_index == complete[-1][1]


def test_here_an_append_that_comes_again_cuts_nothing() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    follower = followers(lab, leader)[0]
    again = []
    for number in range(5):
        leader.propose(b"%d" % number)
        again.append(lab.wires[leader.name, follower.name][-1])
        lab.settle()
    lab.advance(0.1)
    complete, applied = list(follower.journal.entries), follower.member.applied_index
    assert applied == complete[-1][1]
    for message in again:
        assert isinstance(message, wire.Append)
        assert message.entries
        lab.wires[leader.name, follower.name].append(message)
        lab.settle()
        assert follower.journal.entries == complete
    assert follower.member.applied_index == applied
    assert follower.error is None

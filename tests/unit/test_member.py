"""Directed schedules on members stepped by hand: what the gate and the step contract promise."""

import copy
import errno

import pytest

from kvstore.consensus import messages as wire
from kvstore.consensus.engine import Peer
from kvstore.consensus.journal import JournalFailed
from kvstore.consensus.progress import Progress
from kvstore.consensus.snapshots import SnapshotInfo
from kvstore.errors import DeadlineExceeded, Discarded
from tests.support.lab import Lab, LabNode


@pytest.fixture
def lab() -> Lab:
    return Lab("n1", "n2", "n3")


def others(lab: Lab, leader: LabNode) -> list[LabNode]:
    return [node for node in lab.nodes.values() if node is not leader]


def test_a_proposal_is_answered_once_a_majority_has_it_on_disk(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    outcome = leader.propose(b"x")
    assert outcome == []
    lab.deliver((leader.name, follower.name))
    assert follower.journal.durable_index == leader.journal.durable_index
    assert outcome == []
    lab.deliver((follower.name, leader.name))
    assert outcome == [b"x"]


def test_a_leader_that_hears_nobody_steps_down_within_one_election_timeout(lab: Lab) -> None:
    leader = lab.elect()
    lab.advance(0.3 + 0.05, leader.name)
    assert not leader.member.leads
    assert leader.member.leader is None


def test_an_isolated_node_raises_no_term_and_comes_back_without_an_election(lab: Lab) -> None:
    leader = lab.elect()
    isolated = others(lab, leader)[0]
    term = leader.member.term
    lab.advance(20.0, isolated.name, step=0.05)
    lab.advance(1.0)
    assert lab.leaders() == [leader]
    assert {node.member.term for node in lab.nodes.values()} == {term}


def test_a_read_is_confirmed_only_by_a_round_that_began_after_it(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    confirmed: list[int] = []
    leader.member.read_index(lambda index, _error: confirmed.append(index))
    leader.run()
    leader.member.read_index(lambda index, _error: confirmed.append(-index))
    leader.run()
    assert confirmed == []
    lab.deliver((leader.name, follower.name))
    lab.deliver((follower.name, leader.name))
    assert len(confirmed) == 1, "the second read came after the round was sent and must wait for the next"
    lab.settle()
    assert len(confirmed) == 2


def test_a_deposed_leader_confirms_no_read(lab: Lab) -> None:
    leader = lab.elect()
    answers: list[object] = []
    lab.advance(0.2, leader.name)
    leader.member.read_index(lambda _index, error: answers.append(error))
    lab.advance(1.5, leader.name)
    assert len(lab.leaders()) == 1
    assert lab.leaders() != [leader]
    lab.advance(0.5)
    assert len(answers) == 1
    assert answers[0] is not None


def test_answers_of_an_older_term_count_for_nothing(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    leader.propose(b"x")
    before = leader.member.dropped_total
    forged = wire.AppendReply(leader.member.term - 1, 1, True, leader.journal.entries[-1][1], 0, 0, 0)
    leader.member.peer_message(follower.name, forged)
    leader.run()
    assert leader.member.dropped_total == before + 1
    assert leader.log == []


def test_one_voter_cannot_answer_twice_for_another(lab: Lab) -> None:
    lab = Lab("n1", "n2", "n3", "n4", "n5")
    leader = lab.elect()
    candidate = others(lab, leader)[0]
    alone = [node.name for node in lab.nodes.values() if node is not candidate]
    candidate.member.peer_lost(leader.name)
    lab.advance(0.3, *alone)
    term = candidate.member.term + 1
    for _ in range(3):
        candidate.member.peer_message("n5" if candidate.name != "n5" else "n4", wire.VoteReply(term, True, True))
        candidate.member.peer_message("n5" if candidate.name != "n5" else "n4", wire.VoteReply(term, True, False))
        candidate.run()
    assert not candidate.member.leads


def test_a_failed_fsync_stops_the_node_and_nothing_that_was_held_leaves(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    leader.propose(b"x")
    follower.disk.failing["sync"] = errno.EIO
    lab.deliver((leader.name, follower.name))
    assert isinstance(follower.error, JournalFailed)
    assert not lab.wires[follower.name, leader.name]


def test_pickled_kinds_of_entries_are_refused_from_the_wire(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    leader.propose(b"x")
    message = lab.wires[leader.name, follower.name].popleft()
    assert isinstance(message, wire.Append)
    for kind in (b"\x02", b"\x03", b"\x09", b""):
        entries = [(message.term, kind + b"cos\n")]
        bad = wire.Append(message.term, message.seq, message.prev_index, message.prev_term, 0, False, False, entries)
        before = follower.journal.entries[-1]
        follower.member.peer_message(leader.name, bad)
        follower.run()
        assert follower.journal.entries[-1] == before
    assert follower.error is None


def test_a_write_that_another_leader_replaced_is_discarded_and_one_that_nobody_knows_of_is_unknown(lab: Lab) -> None:
    old = lab.elect()
    replaced = old.propose(b"lost")
    lab.advance(1.5, old.name)
    (new,) = lab.leaders()
    new.propose(b"kept")
    lab.advance(0.2, old.name)
    assert len(replaced) == 1
    assert isinstance(replaced[0], DeadlineExceeded)
    assert replaced[0].outcome == "unknown"
    lab.advance(0.5)
    assert [node.log for node in lab.nodes.values()] == [[b"kept"]] * 3


def test_a_write_in_the_place_of_which_another_was_committed_is_discarded(lab: Lab) -> None:
    old = lab.elect()
    outcome = old.propose(b"lost")
    lab.advance(0.95, old.name)
    (new,) = lab.leaders()
    new.propose(b"kept")
    lab.advance(0.1)
    assert len(outcome) == 1
    assert isinstance(outcome[0], Discarded)
    assert outcome[0].outcome == "not_applied"


def test_level_all_waits_for_every_voter_to_know_durably_that_it_is_committed(lab: Lab) -> None:
    leader = lab.elect()
    second = others(lab, leader)[1]
    leader.propose(b"x")
    lab.settle(second.name)
    index = leader.journal.commit_index
    done: list[object] = []
    leader.member.when_all_have(index, done.append)
    leader.run()
    lab.advance(0.1, second.name)
    assert done == []
    assert leader.member.behind(index) == [second.name]
    lab.advance(0.2)
    assert done == [None]
    assert all(node.journal.durable_commit >= index for node in lab.nodes.values())


def test_a_single_voter_answers_only_after_its_own_fsync() -> None:
    lab = Lab("n1")
    node = lab.elect()
    syncs = node.journal.durable_index
    outcome = node.propose(b"x")
    assert outcome == [b"x"]
    assert node.journal.durable_index == syncs + 1
    node.disk.failing["sync"] = errno.EIO
    outcome = node.propose(b"y")
    assert len(outcome) == 1
    assert isinstance(outcome[0], DeadlineExceeded)
    assert node.log == [b"x"]


def test_a_restarted_member_remembers_its_term_its_vote_and_its_log(lab: Lab) -> None:
    leader = lab.elect()
    leader.propose(b"x")
    lab.settle()
    term = leader.member.term
    again = LabNode(lab, leader.name, leader.disk)
    assert (again.member.term, again.journal.voted_for) == (term, leader.name)
    assert again.journal.entries == leader.journal.entries


def test_a_leader_hands_over_without_a_timeout_and_keeps_what_it_had_proposed(lab: Lab) -> None:
    leader = lab.elect()
    outcome = leader.propose(b"x")
    told: list[object] = []
    leader.member.transfer(None, told.append)
    queued = leader.propose(b"y")
    lab.advance(0.05)
    assert told == [None]
    assert outcome == [b"x"]
    (new,) = lab.leaders()
    assert new is not leader
    assert queued == [], "what was not proposed is left to the layer above, which sends it to the new leader"


def test_a_transfer_to_a_silent_node_is_given_up_and_proposing_goes_on(lab: Lab) -> None:
    leader = lab.elect()
    silent = others(lab, leader)[0]
    leader.propose(b"x")
    told: list[object] = []
    leader.member.transfer(silent.name, told.append)
    queued = leader.propose(b"y")
    lab.advance(1.0, silent.name)
    assert len(told) == 1
    assert told[0] is not None
    assert lab.leaders() == [leader]
    assert queued == [b"y"]


def test_an_answer_that_only_tells_a_higher_term_is_no_rejection_for_who_leads_that_term(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    leader.propose(b"x")
    lab.settle()
    behind = wire.Append(leader.member.term - 1, 7, 1, 0, 1, False, False, [])
    follower.member.peer_message(leader.name, behind)
    follower.run()
    answer = lab.wires[follower.name, leader.name].popleft()
    assert isinstance(answer, wire.AppendReply)
    assert answer.term == leader.member.term
    dropped = leader.member.dropped_total
    leader.member.peer_message(follower.name, answer)
    leader.run()
    assert leader.member.dropped_total == dropped + 1
    assert not lab.wires[leader.name, follower.name], "nothing is sent again"


@pytest.mark.parametrize("terms", [(1, 2), (1, 0), (0,)])
def test_an_append_with_impossible_terms_is_dropped_and_stops_nobody(lab: Lab, terms: tuple[int, ...]) -> None:
    leader = lab.elect()
    leader.propose(b"x")
    lab.settle()
    follower = others(lab, leader)[0]
    before = list(follower.journal.entries)
    _, index, term = before[-1]
    assert term == 1
    entries = [(each, b"\x00y") for each in terms]
    follower.member.peer_message(leader.name, wire.Append(term, 99, index, term, 1, False, False, entries))
    follower.run()
    assert follower.error is None
    assert follower.journal.entries == before


def test_a_chunk_beyond_the_size_of_its_snapshot_is_dropped(lab: Lab) -> None:
    leader = lab.elect()
    follower = others(lab, leader)[0]
    chunk = wire.SnapshotChunk(leader.member.term, 1, 50, 1, 0, 10, bytes(20))
    dropped = follower.member.dropped_total
    follower.member.peer_message(leader.name, chunk)
    follower.run()
    assert follower.error is None
    assert follower.member.dropped_total == dropped + 1


def test_a_snapshot_that_a_newer_one_replaces_while_it_is_looked_up_is_sent_as_the_newer_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own snapshots are finished in another thread: at any moment, as far as the leader's step is concerned."""
    leader = lab.elect()
    lead, store = leader.member.leadership, leader.snapshots
    assert lead is not None

    def save(index: int) -> None:
        writer = store.writer(index, 1, leader.journal.configuration)
        writer.add(b"frame")
        writer.commit()

    save(10)
    latest = store.latest

    def replaced_at_once() -> SnapshotInfo | None:
        info = latest()
        monkeypatch.setattr(store, "latest", latest)
        save(20)
        return info

    monkeypatch.setattr(store, "latest", replaced_at_once)
    progress = Progress()
    lead._begin_snapshot("n2", progress)
    assert progress.snapshot is not None
    assert progress.snapshot.info.index == 20
    assert progress.snapshot.next_chunk() is not None
    progress.drop_snapshot()


def test_an_own_snapshot_cuts_no_entry_that_is_not_applied_yet() -> None:
    """The snapshot of this name may be a received one by now, which took its place and is not installed yet."""
    lab = Lab("n1", "n2", "n3", segment_bytes=32 << 10)
    leader = lab.elect()
    follower = others(lab, leader)[0]
    lab.settle()
    _, before, term = follower.journal.entries[-1]
    for index in range(before, before + 20):
        one = wire.Append(term, 100 + index, index, term, before, False, False, [(term, b"\x00" + bytes(5_000))])
        follower.member.peer_message(leader.name, one)
        follower.run()
    applied, last = follower.member.applied_index, follower.journal.entries[-1][1]
    assert (applied, last) == (before, before + 20)
    follower.member._settings = follower.member._settings._replace(log_keep_bytes=0)
    follower.member.compact(SnapshotInfo(last, 1, 1, "", follower.journal.configuration))
    for _ in range(10):
        follower.journal.sync()
    assert follower.journal.entries[0][1] <= applied


def test_a_member_whose_directory_went_back_gets_again_what_it_had_acknowledged(lab: Lab) -> None:
    leader = lab.elect()
    follower, third = others(lab, leader)
    leader.propose(b"before")
    lab.advance(0.2)
    image = copy.deepcopy(follower.disk)
    for number in range(20):
        leader.propose(b"%d" % number)
    lab.advance(0.2)
    last = leader.journal.entries[-1][1]
    assert follower.journal.durable_index == last
    # The same leader in the same term: it knows how far this member was.
    restored = lab.nodes[follower.name] = LabNode(lab, follower.name, image)
    assert restored.journal.durable_index < last
    restored.member.start(restored)
    for node in (leader, third):
        restored.member.peer_connected(Peer(node.name, "", 1, ""))
        node.member.peer_connected(Peer(restored.name, "", 1, ""))
    # Not until nothing is under way: a leader that insists on what it knows is answered without end.
    for _ in range(20):
        lab.now += 0.01
        leader.run()
        lab.deliver((leader.name, restored.name), (restored.name, leader.name))
    assert restored.journal.durable_index == last
    assert lab.leaders() == [leader]
    outcome = leader.propose(b"after")
    lab.advance(0.2, third.name)
    assert restored.journal.durable_index == leader.journal.entries[-1][1]
    assert restored.log == leader.log
    assert outcome == [b"after"]

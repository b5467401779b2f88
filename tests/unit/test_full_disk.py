"""Disks that fill up: who refuses what, what goes on, and how it ends."""

import pytest

from kvstore.consensus import messages as wire
from kvstore.errors import StorageFull
from tests.support.lab import Lab, LabNode

SEGMENT_BYTES = 64 << 10
PUT = b"put" + bytes(5_000)
DELETE = b"delete" + bytes(5_000)


@pytest.fixture
def lab() -> Lab:
    return Lab("n1", "n2", "n3", segment_bytes=SEGMENT_BYTES)


def fill(node: LabNode) -> None:
    """No byte more than what is taken already; what is allocated ahead of time remains to be used up."""
    node.disk.capacity_bytes = (1 << 40) - node.disk.free_bytes("/")


def others(lab: Lab, node: LabNode) -> list[LabNode]:
    return [each for each in lab.nodes.values() if each is not node]


def write(lab: Lab, count: int, command: bytes = PUT) -> list[list[object]]:
    """`count` proposals through whoever leads, one after the other."""
    outcomes = []
    for _ in range(count):
        outcomes.append(lab.elect().propose(command))
        lab.advance(0.06)
    return outcomes


def test_one_full_follower_is_left_behind_and_catches_up_when_it_has_room(lab: Lab) -> None:
    leader = lab.elect()
    full = others(lab, leader)[0]
    fill(full)
    outcomes = write(lab, 60)
    assert all(outcome == [PUT] for outcome in outcomes)
    assert not leader.member.storage_full()
    assert len(full.log) < 60
    assert full.error is None
    full.disk.capacity_bytes = 1 << 40
    lab.advance(1.0)
    assert full.log == leader.log


def test_a_full_leader_hands_over_to_one_with_room(lab: Lab) -> None:
    leader = lab.elect()
    fill(leader)
    write(lab, 60)
    (new,) = lab.leaders()
    assert new is not leader
    assert leader.error is None
    assert len(new.log) >= 55, "only what waited at the moment of the change may be missing"


def test_without_room_on_a_majority_only_deletes_go_on_until_there_is_room_again(lab: Lab) -> None:
    leader = lab.elect()
    for node in others(lab, leader):
        fill(node)
    outcomes = write(lab, 60)
    (leader,) = lab.leaders()
    assert leader.member.storage_full()
    assert outcomes[0] == [PUT]
    assert outcomes[-1] == []
    deletes = write(lab, 5, b"delete")
    assert deletes == [[b"delete"]] * 5
    for node in lab.nodes.values():
        assert node.error is None
        node.disk.capacity_bytes = 1 << 40
    lab.advance(1.0)
    assert not lab.elect().member.storage_full()
    lab.elect().propose(b"after")
    lab.advance(0.5)
    assert all(outcome == [PUT] for outcome in outcomes), "what had waited goes through, nothing is lost"
    logs = [node.log for node in lab.nodes.values()]
    assert logs[0] == logs[1] == logs[2]


def confirmed_reads(lab: Lab) -> int:
    """Of a read that is asked of whoever leads: how often it is confirmed within 0.2 s."""
    read: list[int] = []
    lab.elect().member.read_index(lambda index, error: read.append(index) if error is None else None)
    lab.advance(0.2)
    return len(read)


def refused(outcome: list[object]) -> bool:
    return len(outcome) == 1 and isinstance(outcome[0], StorageFull)


def test_a_lone_node_whose_reserve_is_used_up_refuses_deletes_serves_reads_and_goes_on_with_room() -> None:
    alone = Lab("n1", segment_bytes=SEGMENT_BYTES)
    node = alone.elect()
    fill(node)
    outcomes = write(alone, 60, DELETE)
    assert outcomes[0] == [DELETE]
    assert refused(outcomes[-1])
    assert confirmed_reads(alone) == 1
    assert node.error is None
    node.disk.capacity_bytes = 1 << 40
    alone.advance(0.5)
    assert write(alone, 1) == [[PUT]]
    assert all(len(outcome) == 1 for outcome in outcomes)


def used_up(lab: Lab, delete: bytes = DELETE) -> None:
    """Disks of all nodes that are full for good, with as many deletes as there was room for."""
    lab.elect()
    for node in lab.nodes.values():
        fill(node)
    assert refused(write(lab, 400_000 // len(delete), delete)[-1])


def test_elections_and_reads_go_on_when_all_disks_are_full_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.limits.ENTRY_BYTES_MAX", 900)  # small deletes use up all that they may
    lab = Lab("n1", "n2", "n3", segment_bytes=SEGMENT_BYTES)
    used_up(lab, b"delete" + bytes(800))
    terms = set()
    for _ in range(10):
        leader = lab.elect()
        lab.advance(1.0, leader.name)
        lab.advance(0.5)
        assert confirmed_reads(lab) == 1
        assert refused(write(lab, 1, DELETE)[0])
        terms.add(lab.elect().member.term)
    assert len(terms) == 10
    for node in lab.nodes.values():
        assert node.error is None
        node.disk.capacity_bytes = 1 << 40
    lab.advance(1.0)
    assert write(lab, 1) == [[PUT]]
    lab.advance(0.5)
    logs = [node.log for node in lab.nodes.values()]
    assert logs[0] == logs[1] == logs[2]


def test_when_what_is_kept_for_elections_is_used_up_too_they_wait_for_room(lab: Lab) -> None:
    used_up(lab)
    stalled = False
    for _ in range(200):
        leader = next(iter(lab.leaders()), None)
        lab.advance(1.0, *([leader.name] if leader else []), step=0.02)
        stalled = stalled or any(node.member._stalled for node in lab.nodes.values())
        if stalled:
            break
    assert stalled, "the test shows nothing"
    for node in lab.nodes.values():
        assert node.error is None
        node.disk.capacity_bytes = 1 << 40
    lab.advance(1.0)
    assert write(lab, 1) == [[PUT]]


def test_a_follower_whose_reserve_is_used_up_keeps_no_delete_waiting(lab: Lab) -> None:
    leader = lab.elect()
    for node in others(lab, leader):
        fill(node)
    outcomes = write(lab, 80, DELETE)
    assert outcomes[0] == [DELETE]
    assert refused(outcomes[-1])
    assert all(len(outcome) == 1 for outcome in outcomes), "each is done or refused"
    (leader,) = lab.leaders()
    assert leader.journal.commit_index == leader.journal.entries[-1][1], "nothing is left that cannot be committed"


def test_a_group_beyond_a_segment_has_room_only_if_the_disk_has(lab: Lab) -> None:
    node = lab.elect()
    size = 2 * SEGMENT_BYTES
    fill(node)
    assert node.journal.room(1_000)
    assert not node.journal.room(size)
    node.disk.capacity_bytes = 1 << 40
    assert node.journal.room(size)
    node.journal.append(b"\x00" + bytes(size), node.journal.entries[-1][1] + 1, node.member.term)
    node.journal.sync()


def test_followers_that_refuse_entries_get_them_again_at_heartbeats_only(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = lab.elect()
    for node in others(lab, leader):
        monkeypatch.setattr(node.journal, "room", lambda _size: False)
        monkeypatch.setattr(node.journal, "fits", lambda _size, kept=False: False)
    leader.propose(PUT)
    sent = 0
    for _ in range(50):
        for node in others(lab, leader):
            wires = lab.wires[leader.name, node.name]
            sent += sum(isinstance(message, wire.Append) and bool(message.entries) for message in wires)
        if not lab.deliver():
            break
    assert leader.member.storage_full()
    assert sent <= 2, "once to each of them, and no time has passed"
    lab.advance(0.2)
    assert others(lab, leader)[0].journal.entries[-1][1] < leader.journal.entries[-1][1]
    monkeypatch.undo()
    lab.advance(0.2)
    assert len(leader.log) == 1


def test_a_follower_without_room_for_a_snapshot_says_so_and_answers_all_else_of_that_step(lab: Lab) -> None:
    leader = lab.elect()
    write(lab, 1)
    follower = others(lab, leader)[0]
    fill(follower)
    term, index = leader.member.term, leader.journal.entries[-1][1]
    chunk = wire.SnapshotChunk(term, 501, 50, term, 0, 1 << 30, bytes(100))
    heartbeat = wire.Append(term, 502, index, term, index, False, False, [])
    follower.member.peer_message(leader.name, chunk)
    follower.member.peer_message(leader.name, heartbeat)
    follower.run()
    snapshot, append = lab.wires[follower.name, leader.name]
    assert isinstance(snapshot, wire.SnapshotReply)
    assert (snapshot.seq, snapshot.room, snapshot.done) == (501, False, False)
    assert isinstance(append, wire.AppendReply)
    assert (append.seq, append.success) == (502, True)
    assert not follower.member._stalled


def test_equal_disks_that_fill_up_together_keep_their_leader_and_take_deletes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In production's proportion: a segment holds four of the largest entries.
    monkeypatch.setattr("kvstore.limits.ENTRY_BYTES_MAX", SEGMENT_BYTES // 4)
    lab.elect()
    for node in lab.nodes.values():
        fill(node)
    outcomes = write(lab, 40)
    assert outcomes[0] == [PUT]
    assert outcomes[-1] == []
    leader = lab.elect()
    term = leader.member.term
    assert term <= 3, "handing over to another full node helps nobody"
    lab.advance(5.0, step=0.05)
    assert lab.leaders() == [leader]
    assert leader.member.term == term
    assert write(lab, 5, b"delete") == [[b"delete"]] * 5


def test_more_puts_under_way_than_the_reserve_holds_stall_nobody(lab: Lab) -> None:
    leader = lab.elect()
    for node in others(lab, leader):
        fill(node)
    for _ in range(45):
        leader.propose(PUT)  # all of it before the first answer
    lab.advance(2.0)
    assert lab.leaders() == [leader]
    read: list[int] = []
    leader.member.read_index(lambda index, _error: read.append(index))
    lab.advance(0.2)
    assert len(read) == 1, "reads go on"
    assert write(lab, 5, b"delete") == [[b"delete"]] * 5, "no delete waits behind the puts"
    for node in lab.nodes.values():
        node.disk.capacity_bytes = 1 << 40
    lab.advance(2.0)
    assert len(leader.log) == 45 + 5
    assert all(node.log == leader.log for node in lab.nodes.values())

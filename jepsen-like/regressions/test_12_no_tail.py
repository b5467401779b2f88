"""Fact 12: no tail is kept behind a snapshot, so that a short lag costs a whole one.

Engine: `SyncObj.__tryLogCompaction` cuts the log up to the last applied entry but one.
Here: `Journal.compact` keeps `log_keep_bytes` of entries behind the snapshot for those that lag.
"""

from pathlib import Path

from kvstore.consensus import messages as wire
from kvstore.consensus.journal import Journal
from regressions.published import published
from regressions.schedules import followers
from tests.support.lab import Lab

SEGMENT_BYTES = 16 << 10


def test_the_published_engine_sends_all_for_a_lag_of_three_entries(tmp_path: Path) -> None:
    found = published("no_tail", tmp_path)
    assert found["lag_in_entries"] == 3
    assert found["entries_left_in_the_leaders_log"] == 2
    assert found["snapshots_sent"] == 1
    assert found["caught_up"]


def test_here_it_gets_the_entries() -> None:
    lab = Lab("a", "b", "c", segment_bytes=SEGMENT_BYTES)
    leader = lab.elect()
    behind = followers(lab, leader)[0]
    for _ in range(50):
        leader.propose(bytes(1_000))
        lab.settle()
    there = behind.journal.entries[-1][1]
    for _ in range(3):
        leader.propose(bytes(4_000))
        lab.settle(behind.name)
    _, index, term = leader.journal.entries[-1]
    writer = leader.snapshots.writer(index, term, leader.member.configuration)
    writer.add(b"never sent")
    writer.commit()
    without_tail = Journal.open(leader.disk.copy(), "/journal", segment_bytes=SEGMENT_BYTES)
    compact(without_tail, index, keep_bytes=0)
    assert without_tail.entries[0][1] > there, "a snapshot would not be needed anyway: the test shows nothing"
    compact(leader.journal, index, keep_bytes=16 << 10)
    assert 1 < leader.journal.entries[0][1] <= there
    sent: list[wire.Message] = []
    end = lab.now + 0.3
    while lab.now < end:
        lab.now += 0.01
        leader.run()
        sent += lab.wires[leader.name, behind.name]
        lab.settle()
    assert behind.journal.entries[-1] == leader.journal.entries[-1]
    assert not any(isinstance(message, wire.SnapshotChunk) for message in sent)


def compact(journal: Journal, index: int, keep_bytes: int) -> None:
    """Cut the log, which takes a sync for each segment."""
    journal.compact(index, keep_bytes)
    for _ in range(50):
        journal.sync()

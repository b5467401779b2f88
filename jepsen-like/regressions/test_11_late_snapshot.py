"""Fact 11: a late snapshot moves a follower backwards; a missing one is not noticed.

Engine: `SyncObj.__onMessageReceived` (serialized) loads whatever comes; `SyncObj._onTick` takes no notice of a log that
begins above 1 without a dump.
Here: `Following.snapshot_chunk` ignores a snapshot at or below the commit index; `node.boot._recover` refuses to start.
"""

import pytest

from kvstore.consensus import messages as wire
from kvstore.errors import CorruptData
from regressions import directories
from regressions.published import published
from regressions.schedules import followers
from tests.support.crash_disk import CrashDisk
from tests.support.lab import Lab


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    answer: dict[str, dict[str, object]] = published("late_snapshot", tmp_path_factory.mktemp("late"))
    return answer


def test_a_published_follower_goes_back_to_the_snapshot(found: dict[str, dict[str, object]]) -> None:
    case = found["second_snapshot"]
    assert case["acknowledged"] == 20
    assert case["applied_index_and_keys"] == [[2, 0], [12, 10], [22, 20], [12, 10], [22, 20]]


def test_a_published_node_starts_without_its_dump_and_has_nothing(found: dict[str, dict[str, object]]) -> None:
    case = found["dump_is_gone"]
    assert case["acknowledged"] == 10
    assert case["log_begins_at"] != 1
    assert case["starts_and_leads"]
    assert case["keys"] == 0


def test_here_a_late_snapshot_is_answered_and_ignored() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    follower = followers(lab, leader)[0]
    for number in range(10):
        leader.propose(b"%d" % number)
        lab.settle()
    lab.advance(0.1)
    commit = follower.journal.commit_index
    before = (list(follower.journal.entries), follower.member.applied_index, list(follower.log))
    for index in (commit - 3, commit):
        chunk = wire.SnapshotChunk(
            term=leader.member.term, seq=1, index=index, index_term=leader.member.term, offset=0, size=4, data=b"data"
        )
        follower.member.peer_message(leader.name, chunk)
        follower.run()
        reply = lab.wires[follower.name, leader.name][-1]
        assert isinstance(reply, wire.SnapshotReply)
        assert (reply.index, reply.done) == (index, True)
    assert follower.error is None
    assert (follower.journal.entries, follower.member.applied_index, follower.log) == before


def test_here_a_missing_one_stops_the_start() -> None:
    disk = CrashDisk()
    node = directories.opened(disk)
    directories.write(node, 50, bytes(1_000))
    directories.apply(node, 45)
    info = directories.snapshot(node)
    node.journal.compact(info.index, keep_bytes=0)
    for _ in range(10):
        node.journal.sync()
    assert node.journal.entries[0][1] > 1, "nothing was cut: the test shows nothing"
    assert directories.opened(disk.copy()).machine.applied_index == 45
    disk.remove(info.path)
    with pytest.raises(CorruptData, match="there is no snapshot"):
        directories.opened(disk)

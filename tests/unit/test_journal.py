"""The journal: what it keeps, what it writes, and how it behaves on a full or failing disk."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.journal import Journal, JournalFailed
from kvstore.consensus.journal_format import NOOP
from kvstore.errors import StorageFull
from tests.support.crash_disk import KEPT, LOST, CrashDisk
from tests.support.journal_model import DIRECTORY, node_disk

SEGMENT_BYTES = 8192 + 2048
TWO = Configuration(5, (Member("n1", "a:1", "http://a", True, "id1"), Member("n2", "b:2", "http://b", False, "")))


def open_journal(disk: CrashDisk, segment_bytes: int = SEGMENT_BYTES) -> Journal:
    return Journal.open(disk, DIRECTORY, segment_bytes=segment_bytes)


def fill(journal: Journal, count: int, *, size: int = 100, term: int = 1, sync: bool = True) -> None:
    for _ in range(count):
        index = journal.entries[-1][1] + 1
        journal.append(b"\0%d:" % index + b"x" * size, index, term)
        if sync:
            journal.sync()


def compact(journal: Journal, index: int, keep_bytes: int) -> None:
    """Compact, and let syncs take what is left of it, a segment each."""
    journal.compact(index, keep_bytes)
    for _ in range(50):
        journal.sync()


def segments(disk: CrashDisk) -> list[str]:
    return [name for name in disk.list(DIRECTORY) if name.endswith(".seg")]


def fill_disk(disk: CrashDisk, left: int = 0) -> None:
    disk.capacity_bytes -= disk.free_bytes("") - left


# -- what it keeps


def test_a_fresh_journal_holds_the_committed_no_op_and_nothing_else() -> None:
    journal = open_journal(node_disk())
    assert journal.entries == [(NOOP, 1, 0)]
    assert (journal.term, journal.voted_for, journal.commit_index) == (0, None, 1)
    assert journal.configuration == Configuration(0, ())
    assert (journal.durable_index, journal.durable_term, journal.durable_commit) == (1, 0, 1)
    assert not journal.dirty


def test_everything_that_was_synced_is_there_again_after_a_loss_of_power() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    journal.set_term(3, "n2")
    journal.set_configuration(TWO)
    fill(journal, 5, term=3, sync=False)
    journal.truncate(5)
    journal.append(b"\0another", 5, 3)
    journal.set_commit(4)
    journal.sync()
    found = open_journal(disk.after_crash(LOST))
    assert found.entries == journal.entries
    assert (found.term, found.voted_for, found.commit_index, found.configuration) == (3, "n2", 4, TWO)


def test_nothing_is_durable_before_sync() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    journal.set_term(3, "n2")
    fill(journal, 5, term=3, sync=False)
    assert journal.dirty
    assert (journal.durable_index, journal.durable_term, journal.durable_vote) == (1, 0, None)
    assert open_journal(disk.after_crash(LOST)).entries == [(NOOP, 1, 0)]
    journal.sync()
    assert not journal.dirty
    assert (journal.durable_index, journal.durable_term, journal.durable_vote) == (6, 3, "n2")


def test_the_commit_index_travels_with_the_next_group_unless_it_is_forced() -> None:
    journal = open_journal(node_disk())
    fill(journal, 3)
    journal.set_commit(2)
    assert not journal.dirty
    journal.sync()
    assert journal.durable_commit == 1
    journal.sync(force_commit=True)
    assert journal.durable_commit == 2
    journal.set_commit(3)
    fill(journal, 1)
    assert journal.durable_commit == 3


def test_a_group_is_one_write_and_one_sync() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    journal.set_term(1, "n1")
    fill(journal, 10, sync=False, size=10)
    journal.set_commit(5)
    disk.operations = 0
    journal.sync()
    assert disk.operations == 2
    journal.sync()
    assert disk.operations == 2


def test_a_truncation_lowers_the_durable_index_at_once() -> None:
    journal = open_journal(node_disk())
    fill(journal, 5)
    journal.truncate(4)
    assert (journal.entries[-1][1], journal.durable_index) == (3, 3)
    journal.append(b"\0new", 4, 2)
    assert journal.durable_index == 3
    journal.sync()
    assert journal.durable_index == 4


def test_entries_that_are_dropped_before_they_were_written_are_never_written() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 20, size=1000, sync=False)
    journal.truncate(2)
    assert not journal.dirty
    journal.append(b"\0small", 2, 1)
    before = journal.bytes_since(1)
    journal.sync()
    assert len(segments(disk)) == 1
    assert before < 100
    assert open_journal(disk.after_crash(LOST)).entries == [(NOOP, 1, 0), (b"\0small", 2, 1)]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda journal: journal.append(b"\0", 9, 1),
        lambda journal: journal.append(b"\0", 3, 1),
        lambda journal: journal.append(b"\0", 4, 0),
        lambda journal: journal.truncate(2),
        lambda journal: journal.set_commit(4),
        lambda journal: journal.set_term(1, "n1"),
        lambda journal: journal.set_term(2, "n2"),
        lambda journal: journal.set_term(2, None),
        lambda journal: journal.reset(1, 1, TWO),
    ],
)
def test_what_raft_never_does_is_refused(misuse: Callable[[Journal], None]) -> None:
    journal = open_journal(node_disk())
    journal.set_term(2, "n1")
    fill(journal, 2)
    journal.set_commit(2)
    with pytest.raises(ValueError, match=r".+"):
        misuse(journal)
    assert journal.entries[-1][1] == 3


def test_it_works_on_the_disk_of_the_operating_system(tmp_path: Path) -> None:
    directory = str(tmp_path / "journal")
    journal = Journal.open(OsDisk(), directory, segment_bytes=SEGMENT_BYTES)
    journal.set_term(1, "n1")
    fill(journal, 60)
    journal.set_commit(50)
    journal.compact(40, keep_bytes=500)
    journal.append(b"\0never synced", 62, 1)
    journal.close()
    found = Journal.open(OsDisk(), directory, segment_bytes=SEGMENT_BYTES)
    assert found.entries[1:] == journal.entries[1:-1]
    assert found.entries[0][1:] == journal.entries[0][1:]
    assert found.entries[0][1] > 1
    found.reset(100, 1, TWO)
    found.close()
    again = Journal.open(OsDisk(), directory, segment_bytes=SEGMENT_BYTES)
    assert again.entries == [(NOOP, 100, 1)]
    again.close()
    assert sum(path.name.endswith(".seg") for path in (tmp_path / "journal").iterdir()) == 1


def test_no_file_stays_open_after_close() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 60)
    journal.close()
    journal.close()
    assert disk.open_files == 0


# -- segments and compaction


def test_an_entry_larger_than_a_segment_gets_a_larger_one() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 1, size=5 * SEGMENT_BYTES)
    fill(journal, 3)
    assert open_journal(disk.after_crash(LOST)).entries == journal.entries


def test_compaction_drops_whole_segments_behind_the_snapshot_and_keeps_a_tail() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 100)
    journal.set_commit(90)
    compact(journal, 80, keep_bytes=2000)
    base = journal.entries[0][1]
    assert 1 < base < 80
    assert 2000 <= journal.bytes_since(base) - journal.bytes_since(80) < 2000 + 2048
    assert journal.entries[-1][1] == 101
    found = open_journal(disk.after_crash(KEPT))
    assert found.entries == [(NOOP, base, 1), *journal.entries[1:]]
    assert found.commit_index >= base


def test_a_long_compaction_takes_one_segment_at_a_time() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 100)
    journal.set_commit(101)
    there = len(segments(disk))
    journal.compact(101, keep_bytes=0)
    assert len(segments(disk)) == there - 1
    assert open_journal(disk.after_crash(KEPT)).entries[0][1] == journal.entries[0][1]
    fill(journal, 1)
    assert len(segments(disk)) == there - 2
    assert open_journal(disk.after_crash(KEPT)).entries[0][1] == journal.entries[0][1]


def test_compaction_keeps_everything_when_there_is_less_than_the_tail_to_keep() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 100)
    journal.set_commit(101)
    compact(journal, 101, keep_bytes=1 << 20)
    assert journal.entries[0][1] == 1
    assert len(segments(disk)) > 3


def test_the_log_never_begins_behind_what_the_snapshot_covers() -> None:
    for covered in range(1, 60):
        disk = node_disk()
        journal = open_journal(disk)
        fill(journal, 60)
        journal.set_commit(60)
        compact(journal, covered, keep_bytes=0)
        assert open_journal(disk.after_crash(KEPT)).entries[0][1] == journal.entries[0][1] <= covered


def test_a_log_cut_below_a_segments_beginning_has_its_base_below_it_too() -> None:
    """The segment before, which held the entries between, is dropped; only the record of the cut knows the base."""
    disk = node_disk()
    journal = open_journal(disk)
    while len(segments(disk)) == 1:
        fill(journal, 1)
    begun = journal.entries[-1][1]
    journal.set_term(2, None)
    journal.truncate(begun - 6)
    fill(journal, 12, size=20, term=2)
    assert len(segments(disk)) == 2
    for _ in range(2):
        journal.set_commit(begun + 2)
        compact(journal, begun + 2, keep_bytes=0)
        assert len(segments(disk)) == 1
        assert journal.entries[0][1:] == (begun - 7, 1)
        expected = [(NOOP, begun - 7, 1), *journal.entries[1:]]
        journal = open_journal(disk)
        assert journal.entries == expected


def test_a_cut_is_remembered_over_a_restart_when_it_comes_to_compaction() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    while len(segments(disk)) == 1:
        fill(journal, 1)
    begun = journal.entries[-1][1]
    journal.truncate(begun - 6)
    fill(journal, 12, size=20, term=2)
    journal = open_journal(disk)
    journal.set_commit(begun + 2)
    compact(journal, begun + 2, keep_bytes=0)
    assert len(segments(disk)) == 1
    assert journal.entries[0][1:] == (begun - 7, 1)


def test_a_cut_that_is_not_durable_yet_keeps_compaction_from_the_segments_it_reaches_into() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    while len(segments(disk)) == 1:
        fill(journal, 1)
    begun = journal.entries[-1][1]
    journal.truncate(begun - 6)
    fill(journal, 12, size=20, term=2, sync=False)
    journal.set_commit(begun + 2)
    compact(journal, begun + 2, keep_bytes=0)
    assert journal.entries[0][1] == 1
    journal.sync()
    compact(journal, begun + 2, keep_bytes=0)
    assert journal.entries[0][1] == begun - 7


def test_a_reset_replaces_the_log_and_leaves_no_old_file() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    entries = journal.entries
    journal.set_term(4, "n1")
    fill(journal, 40, term=4)
    journal.append(b"\0unsynced", 42, 4)
    journal.reset(500, 3, TWO)
    assert journal.entries is entries
    assert entries == [(NOOP, 500, 3)]
    assert (journal.commit_index, journal.durable_commit, journal.durable_index, journal.dirty) == (
        500,
        500,
        500,
        False,
    )
    assert len(segments(disk)) == 1
    found = open_journal(disk.after_crash(LOST))
    assert found.entries == entries
    assert (found.term, found.voted_for, found.commit_index, found.configuration) == (4, "n1", 500, TWO)


def test_a_failure_between_a_reset_and_the_removal_of_the_old_files_is_tidied_up_by_the_next_compaction() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 40)
    disk.failing["remove"] = errno.EIO
    with pytest.raises(JournalFailed):
        journal.reset(500, 3, TWO)
    disk.failing.clear()
    assert len(segments(disk)) > 2
    journal = open_journal(disk)
    assert journal.entries == [(NOOP, 500, 3)]
    journal.compact(500, keep_bytes=0)
    assert len(segments(disk)) == 1


def test_bytes_since_counts_what_the_log_takes_behind_an_entry() -> None:
    journal = open_journal(node_disk())
    fill(journal, 10, size=100)
    one = journal.bytes_since(10)
    assert 100 < one < 150
    assert journal.bytes_since(11) == journal.bytes_since(99) == 0
    assert journal.bytes_since(1) == journal.bytes_since(0)
    assert journal.bytes_since(8) - journal.bytes_since(9) in (one, one - 1)


# -- a full disk


def test_a_full_disk_is_told_before_anything_of_the_group_is_written() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill_disk(disk)
    while journal.room(120):
        fill(journal, 1)
    synced = list(journal.entries)
    fill(journal, 30, sync=False)
    before = [disk.read(f"{DIRECTORY}/{name}") for name in disk.list(DIRECTORY)]
    with pytest.raises(StorageFull):
        journal.sync()
    assert before == [disk.read(f"{DIRECTORY}/{name}") for name in disk.list(DIRECTORY)]
    assert journal.dirty
    assert journal.durable_index == synced[-1][1]
    assert open_journal(disk.after_crash(LOST)).entries == synced


def test_what_did_not_fit_is_written_once_there_is_room() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill_disk(disk)
    while journal.room(120):
        fill(journal, 1)
    fill(journal, 10, sync=False)
    with pytest.raises(StorageFull):
        journal.sync()
    disk.capacity_bytes += 10 * SEGMENT_BYTES
    assert journal.room(120)
    journal.sync()
    assert open_journal(disk.after_crash(LOST)).entries == journal.entries


def test_the_reserve_serves_only_when_told_and_comes_back_first() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill_disk(disk)
    while journal.room(120):
        fill(journal, 1)
    fill(journal, 10, sync=False)
    with pytest.raises(StorageFull):
        journal.sync()
    journal.sync(reserve=True)
    assert not journal.dirty
    assert "reserve" not in disk.list(DIRECTORY)
    fill(journal, 30, sync=False)
    with pytest.raises(StorageFull):
        journal.sync(reserve=True)
    journal.truncate(journal.durable_index + 1)
    disk.capacity_bytes += SEGMENT_BYTES
    assert not journal.room(1 << 20)
    assert "reserve" in disk.list(DIRECTORY)
    assert "spare" not in disk.list(DIRECTORY)


def test_compaction_on_a_full_disk_makes_room_again() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill_disk(disk, left=3 * SEGMENT_BYTES)
    while journal.room(120):
        fill(journal, 1)
    journal.set_commit(journal.durable_index)
    compact(journal, journal.commit_index, keep_bytes=0)
    assert journal.room(120)
    fill(journal, 10)


@pytest.mark.parametrize("operation", ["allocate", "open"])
def test_a_disk_that_fills_up_while_room_is_made_leaves_no_half_made_file(operation: str) -> None:
    disk = node_disk()
    journal = open_journal(disk)
    disk.failing[operation] = errno.ENOSPC
    while journal.room(120):
        fill(journal, 1)
    assert "spare" not in disk.list(DIRECTORY)
    fill(journal, 10, sync=False)
    with pytest.raises(StorageFull):
        journal.sync()
    disk.failing.clear()
    journal.sync()
    assert journal.durable_index == journal.entries[-1][1]


def test_a_new_journal_on_a_full_disk_is_refused_and_can_be_begun_later() -> None:
    disk = node_disk()
    disk.capacity_bytes = 100
    with pytest.raises(StorageFull):
        open_journal(disk)
    disk.capacity_bytes = 1 << 20
    assert open_journal(disk).entries == [(NOOP, 1, 0)]


def test_a_journal_opens_on_a_full_disk() -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 20)
    fill_disk(disk)
    assert open_journal(disk.after_crash(LOST)).entries == journal.entries


# -- a failing disk

LATER_CALLS: list[Callable[[Journal], object]] = [
    lambda journal: journal.append(b"\0", journal.entries[-1][1] + 1, 9),
    lambda journal: journal.truncate(journal.entries[-1][1]),
    lambda journal: journal.set_term(9, None),
    lambda journal: journal.set_commit(2),
    lambda journal: journal.set_configuration(TWO),
    lambda journal: journal.sync(),
    lambda journal: journal.compact(2, 0),
    lambda journal: journal.reset(50, 1, TWO),
    lambda journal: journal.room(),
]


@pytest.mark.parametrize("operation", ["sync", "pwrite"])
@pytest.mark.parametrize("later", LATER_CALLS)
def test_after_a_failed_write_or_fsync_every_call_is_refused(
    operation: str, later: Callable[[Journal], object]
) -> None:
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 3)
    journal.append(b"\0unlucky", 5, 1)
    disk.failing[operation] = errno.EIO
    with pytest.raises(JournalFailed):
        journal.sync()
    assert journal.durable_index == 4
    disk.failing.clear()
    with pytest.raises(JournalFailed):
        later(journal)
    journal.close()


def test_a_closed_journal_takes_nothing() -> None:
    journal = open_journal(node_disk())
    journal.close()
    for later in LATER_CALLS:
        with pytest.raises(JournalFailed):
            later(journal)


@pytest.mark.parametrize("operation", ["sync", "rename", "sync_dir", "pwrite"])
def test_a_failure_while_a_segment_is_begun_is_fatal_too_and_loses_nothing(operation: str) -> None:
    disk = node_disk()
    journal = open_journal(disk)
    while journal._offset + 200 < journal._capacity:
        fill(journal, 1)
    synced = list(journal.entries)
    fill(journal, 10, sync=False)
    disk.failing[operation] = errno.EIO
    with pytest.raises(JournalFailed):
        journal.sync()
    disk.failing.clear()
    assert open_journal(disk.after_crash(LOST)).entries[: len(synced)] == synced


def test_what_a_failed_fsync_left_in_memory_is_made_durable_before_it_is_believed() -> None:
    """The kernel calls the pages clean after a failed fsync: they can be read, and no later fsync writes them."""
    disk = node_disk()
    journal = open_journal(disk)
    fill(journal, 3)
    journal.append(b"\0unlucky", 5, 1)
    disk.failing["sync"] = errno.EIO
    with pytest.raises(JournalFailed):
        journal.sync()
    disk.failing.clear()
    found = open_journal(disk)
    assert found.durable_index == 5
    assert open_journal(disk.after_crash(LOST)).durable_index == 5

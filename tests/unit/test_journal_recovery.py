"""What a journal believes of its bytes after a crash, a cut and a flipped bit (the rule in journal_format)."""

import itertools
import struct
from bisect import bisect_right
from collections.abc import Iterator

import pytest

from kvstore.consensus import journal_format as form
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.journal import Journal
from kvstore.errors import CorruptData
from tests.support.crash_disk import KEPT, LOST, SECTOR_BYTES, CrashDisk
from tests.support.journal_model import DIRECTORY, node_disk

SEGMENT_BYTES = 8192 + 6144
RECORDS_AT = 8192
FIRST = f"{DIRECTORY}/{1:016d}.seg"
SECOND = f"{DIRECTORY}/{2:016d}.seg"


def open_journal(disk: CrashDisk) -> Journal:
    return Journal.open(disk, DIRECTORY, segment_bytes=SEGMENT_BYTES)


def record_starts(data: bytes) -> Iterator[tuple[int, int]]:
    """Offset and kind of each record of a segment, by the lengths alone; the last is where they end."""
    position = RECORDS_AT
    while position + 9 <= len(data):
        length, kind = struct.unpack_from("<IB", data, position + 4)
        if not length:
            break
        yield position, kind
        position += 8 + length
    yield position, 0


def written(groups: list[list[int]]) -> tuple[CrashDisk, Journal]:
    """A journal with groups of entries of the given sizes, as a killed process leaves it."""
    disk = node_disk()
    journal = open_journal(disk)
    journal.set_term(1, "n1")
    for sizes in groups:
        for size in sizes:
            index = journal.entries[-1][1] + 1
            # No zero at the end, which zeros could stand in for.
            journal.append(b"\0" + bytes([index % 251 + 1]) * size + b"\x7f", index, 1)
        journal.set_commit(journal.durable_index)
        journal.sync()
    return disk, journal


SHORT = [[100, 30, 0], [300], [5] * 10, [50, 60, 70, 80], [1], [40] * 12, [300, 200, 100], [10], [600, 20]]
LONG = [[900], [700], *SHORT]


@pytest.mark.parametrize(
    ("groups", "zeroed"),
    [(SHORT, False), (SHORT, True), (LONG, False)],
    ids=["less than 4 KiB of records", "zeros from there on", "more than 4 KiB of records"],
)
def test_cut_at_every_byte_of_the_last_4_kib_it_opens_with_every_record_complete_up_to_there(
    groups: list[list[int]], zeroed: bool
) -> None:
    disk, journal = written(groups)
    data = disk.read(FIRST)
    starts = list(record_starts(data))
    end = starts[-1][0]
    assert (end - 4096 < RECORDS_AT) == (groups is SHORT)
    ends = [after for (_, kind), (after, _) in itertools.pairwise(starts) if kind == form.KIND_ENTRY]
    # The first group's header and the term are the first two records.
    term_end = starts[2][0]
    for size in range(end - 4096, end + 1):
        found = disk.after_crash(KEPT)
        found.cut(FIRST, size)
        if zeroed:
            found.open(FIRST).truncate(len(data))
            found.open(FIRST).sync()
        opened = open_journal(found)
        complete = bisect_right(ends, size)
        assert opened.entries == journal.entries[: 1 + complete], size
        assert opened.term == (1 if size >= term_end else 0)
        opened.append(b"\0goes on", opened.entries[-1][1] + 1, 1)
        opened.sync()
        if size % 64 == 0:
            assert open_journal(found.after_crash(LOST)).entries == opened.entries


def test_a_cut_at_the_very_end_of_the_file_harms_nothing() -> None:
    disk, journal = written(LONG)
    for size in range(SEGMENT_BYTES - 64, SEGMENT_BYTES):
        found = disk.after_crash(KEPT)
        found.cut(FIRST, size)
        assert open_journal(found).entries == journal.entries


def test_a_bit_flipped_anywhere_below_the_last_durable_mark_stops_the_node() -> None:
    disk, _ = written([[10, 20], [30], [40, 50]])
    starts = [start for start, kind in record_starts(disk.read(FIRST))]
    groups = [start for start, kind in record_starts(disk.read(FIRST)) if kind == form.KIND_GROUP]
    header = range(250)
    padding = range(250, RECORDS_AT, 61)
    records = range(RECORDS_AT, groups[-1])
    for offset in [*header, *padding, *records]:
        found = disk.after_crash(KEPT)
        found.flip(FIRST, offset, bit=offset % 8)
        with pytest.raises(CorruptData) as raised:
            open_journal(found)
        assert raised.value.path == FIRST
        assert raised.value.offset <= max(offset, 16)
        if offset >= RECORDS_AT:
            assert raised.value.offset == starts[bisect_right(starts, offset) - 1]
        assert "Do not delete" in raised.value.advice or "Start the version" in raised.value.advice
        assert found.open_files == 0


def test_a_bit_flipped_in_the_last_group_is_cut_as_torn_and_everything_before_it_stays() -> None:
    disk, journal = written([[10, 20], [30], [40, 50, 60]])
    starts = list(record_starts(disk.read(FIRST)))
    last_group = max(start for start, kind in starts if kind == form.KIND_GROUP)
    ends = [after for (_, kind), (after, _) in itertools.pairwise(starts) if kind == form.KIND_ENTRY]
    for offset in range(last_group, starts[-1][0]):
        found = disk.after_crash(KEPT)
        found.flip(FIRST, offset, bit=offset % 8)
        opened = open_journal(found)
        # Whole records before the bad one stay.
        assert opened.entries == journal.entries[: 1 + bisect_right(ends, offset)]


@pytest.mark.parametrize("how", ["closed", "opened again"])
def test_once_closed_or_opened_again_the_last_group_is_protected_too(how: str) -> None:
    disk, journal = written([[10, 20], [30], [40, 50]])
    end = list(record_starts(disk.read(FIRST)))[-1][0]
    if how == "opened again":
        journal = open_journal(disk)
        disk = disk.after_crash(KEPT)
    else:
        journal.close()
    for offset in range(RECORDS_AT, end, 7):
        found = disk.after_crash(KEPT)
        found.flip(FIRST, offset)
        with pytest.raises(CorruptData):
            open_journal(found)
    assert open_journal(disk).entries == journal.entries


def test_opening_and_closing_again_and_again_does_not_make_the_journal_grow() -> None:
    disk, journal = written([[10]])
    journal.close()
    size = list(record_starts(disk.read(FIRST)))[-1][0]
    for _ in range(10):
        open_journal(disk).close()
    assert list(record_starts(disk.read(FIRST)))[-1][0] <= size + form.GROUP_BYTES


def test_a_segment_with_a_successor_may_not_differ_in_a_single_bit() -> None:
    disk, _ = written([[900]] * 8)
    assert disk.exists(SECOND)
    for offset in [*range(0, 200), *range(200, SEGMENT_BYTES, 13)]:
        found = disk.after_crash(KEPT)
        found.flip(FIRST, offset, bit=offset % 8)
        with pytest.raises(CorruptData) as raised:
            open_journal(found)
        assert raised.value.path == FIRST


def test_a_segment_with_a_successor_may_not_be_cut_short() -> None:
    disk, _ = written([[900]] * 8)
    end = list(record_starts(disk.read(FIRST)))[-1][0]
    for size in (0, 5, 100, RECORDS_AT, RECORDS_AT + 1000, end - 1):
        found = disk.after_crash(KEPT)
        found.cut(FIRST, size)
        with pytest.raises(CorruptData):
            open_journal(found)


def test_the_header_of_the_last_segment_was_durable_before_its_name() -> None:
    disk, _ = written([[900]] * 8)
    for size in (0, 5, 20, 80):
        found = disk.after_crash(KEPT)
        found.cut(SECOND, size)
        with pytest.raises(CorruptData) as raised:
            open_journal(found)
        assert raised.value.path == SECOND


def test_a_missing_segment_shows_as_a_log_that_begins_behind_it() -> None:
    disk, journal = written([[900]] * 25)
    disk.remove(SECOND)
    found = open_journal(disk)
    base = found.entries[0][1]
    assert base > 1
    assert found.entries[1:] == journal.entries[base:]
    assert disk.exists(FIRST), "nothing is removed that might be needed once the missing one is found"


def test_a_segment_under_another_name_is_refused() -> None:
    disk, _ = written([[900]] * 8)
    disk.rename(SECOND, f"{DIRECTORY}/{3:016d}.seg")
    disk.remove(FIRST)
    with pytest.raises(CorruptData, match="under another name"):
        open_journal(disk)


def test_a_segment_of_another_journal_is_refused() -> None:
    disk, _ = written([[900]] * 8)
    other, _ = written([[901]] * 8)
    for found, path in ((disk.after_crash(KEPT), FIRST), (disk.after_crash(KEPT), SECOND)):
        found.remove(path)
        file = found.open(path, create=True)
        file.pwrite(other.read(path), 0)
        with pytest.raises(CorruptData):
            open_journal(found)


def test_a_segment_of_a_later_format_asks_for_a_later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = node_disk()
    with monkeypatch.context() as patch:
        patch.setattr(form, "FORMAT_VERSION", 2)
        open_journal(disk).close()
    with pytest.raises(CorruptData, match="Start the version of kvstore that wrote it"):
        open_journal(disk)


def test_the_header_region_grows_with_a_large_configuration() -> None:
    header = form.SegmentHeader(0, 1, b"saltsalt", 0, 1, 0, 0, None, 1, Configuration(0, ()))
    assert len(form.encode_header(header)) == RECORDS_AT
    large = header._replace(voted_for="n" * 9000)
    region = form.encode_header(large)
    assert len(region) > 9000 + 4096
    assert form.decode_header(region, "x") == (large, len(region))


def test_records_that_were_cut_off_never_come_back() -> None:
    """A torn record, a whole one behind it, and a new group that ends exactly where the whole one begins."""
    disk = node_disk()
    journal = open_journal(disk)
    journal.append(b"\0" + b"a" * 2000, 2, 1)
    journal.append(b"\0stale", 3, 1)
    journal.sync()
    data = bytearray(disk.read(FIRST))
    data[RECORDS_AT + 2 * SECTOR_BYTES : RECORDS_AT + 3 * SECTOR_BYTES] = bytes(SECTOR_BYTES)
    file = disk.open(FIRST)
    file.pwrite(bytes(data), 0)
    file.sync()
    journal = open_journal(disk)
    assert journal.entries == [(form.NOOP, 1, 0)]
    journal.append(b"\0" + b"b" * (2000 - form.GROUP_BYTES), 2, 1)
    journal.sync()
    assert open_journal(disk.after_crash(LOST)).entries == journal.entries


def test_a_lost_mark_that_nobody_was_promised_is_not_taken_for_damage() -> None:
    """Opening adds a mark and does not sync it. The sector it lies in is lost, the group behind it is kept."""
    for size in range(300, 300 + SECTOR_BYTES):
        disk, journal = written([[size]])
        end = list(record_starts(disk.read(FIRST)))[-1][0]
        if end % SECTOR_BYTES == SECTOR_BYTES - form.GROUP_BYTES:
            break
    disk = disk.after_crash(KEPT)
    journal = open_journal(disk)
    synced = list(journal.entries)
    journal.append(b"\0in flight", 3, 1)
    journal.sync()
    found = disk.after_crash(KEPT)
    assert found.read(FIRST)[end : end + form.GROUP_BYTES] != bytes(form.GROUP_BYTES)
    file = found.open(FIRST)
    file.pwrite(bytes(form.GROUP_BYTES), end)
    file.sync()
    assert open_journal(found).entries == synced


def test_a_value_that_looks_like_a_group_is_not_taken_for_one() -> None:
    """Without the segment's salt nobody can write what recovery looks for behind a torn record."""
    disk = node_disk()
    journal = open_journal(disk)
    fakes = b"".join(form.group_record(b"saltsalt", offset, offset) for offset in range(RECORDS_AT, RECORDS_AT + 500))
    journal.append(b"\0" + fakes[:4000], 2, 1)
    journal.sync()
    disk.flip(FIRST, RECORDS_AT + 50)
    assert open_journal(disk).entries == [(form.NOOP, 1, 0)]


@pytest.mark.parametrize("name", ["spare", "reserve"])
def test_what_a_crash_left_in_a_spare_file_is_wiped_before_it_is_used(name: str) -> None:
    disk, journal = written([[10]])
    journal.close()
    file = disk.open(f"{DIRECTORY}/{name}")
    file.pwrite(b"an unfinished, very long header" * 400, 0)
    open_journal(disk)
    assert disk.read(f"{DIRECTORY}/{name}") == bytes(SEGMENT_BYTES)

"""Encrypted segments, snapshots and backups: what is refused, where, and that nothing readable is left."""

import itertools
import random
import struct
from pathlib import Path

import google_crc32c
import pytest

from kvstore import limits
from kvstore.consensus import journal_format as form
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.journal import Journal
from kvstore.consensus.sealed_file import check_if_sealed, create_sealed, open_clear, stored_size
from kvstore.consensus.segments import last_by_other_key
from kvstore.consensus.snapshots import SnapshotStore, check_snapshot
from kvstore.errors import CorruptData
from kvstore.vault.envelope import NO_KEYS, Vault, WrongKey
from kvstore.vault.keys import KeyRing
from tests.support.crash_disk import KEPT, LOST, CrashDisk
from tests.support.journal_model import DIRECTORY, node_disk
from tests.support.vaults import key, ring, vault
from tests.unit.test_journal_recovery import RECORDS_AT, record_starts
from tests.unit.test_snapshots import FRAMES, pieces, save

SEGMENT_BYTES = 8192 + 6144
FIRST = f"{DIRECTORY}/{1:016d}.seg"
SECOND = f"{DIRECTORY}/{2:016d}.seg"
CHUNK = limits.ENCRYPTED_CHUNK_BYTES
MARKER = b"PLANTED-d1a7"


def open_journal(disk: CrashDisk, keys: Vault) -> Journal:
    return Journal.open(disk, DIRECTORY, segment_bytes=SEGMENT_BYTES, vault=keys)


def written(keys: Vault, groups: int = 4, size: int = 30) -> tuple[CrashDisk, Journal]:
    """A journal with groups of two entries, as a killed process leaves it."""
    disk = node_disk()
    journal = open_journal(disk, keys)
    journal.set_term(1, "n1")
    for _ in range(groups):
        add(journal, size)
    return disk, journal


def add(journal: Journal, size: int = 30) -> None:
    for _ in range(2):
        journal.append(b"\0" + MARKER * (size // len(MARKER)), journal.entries[-1][1] + 1, 1)
    journal.sync()


def groups_of(data: bytes) -> list[int]:
    return [start for start, kind in record_starts(data) if kind == form.KIND_GROUP]


def sealed(data: bytes) -> list[tuple[int, int]]:
    """Start and end of each encrypted record."""
    starts = list(record_starts(data))
    return [(at, after) for (at, kind), (after, _) in itertools.pairwise(starts) if kind == form.KIND_SEALED]


def rewrite(disk: CrashDisk, path: str, data: bytes) -> CrashDisk:
    found = disk.after_crash(KEPT)
    found.open(path).pwrite(data, 0)
    found.open(path).sync()
    return found


def with_checksum(record: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(record[4:])) + record[4:]


# -- the journal


def test_a_journal_comes_back_with_its_keys_and_no_file_shows_what_is_in_it() -> None:
    disk, journal = written(vault(1), groups=60)
    assert len(journal.segments) > 1
    assert open_journal(disk.after_crash(LOST), vault(1)).entries == journal.entries
    assert open_journal(disk.after_crash(LOST), vault(2, 1)).entries == journal.entries
    for name in disk.list(DIRECTORY):
        assert MARKER not in disk.read(f"{DIRECTORY}/{name}")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (NO_KEYS, "key 1, and no keys were given"),
        (vault(2, 3), "key 1, and only 2, 3 are there"),
        (Vault(KeyRing(1, {1: key(2)})), "another key 1"),
    ],
)
def test_without_its_key_a_journal_is_not_opened_and_not_changed(keys: Vault, problem: str) -> None:
    disk, _ = written(vault(1))
    before = {name: disk.read(f"{DIRECTORY}/{name}") for name in disk.list(DIRECTORY)}
    with pytest.raises(WrongKey, match=problem) as raised:
        open_journal(disk, keys)
    assert (raised.value.exit_code, raised.value.key_id) == (7, 1)
    assert {name: disk.read(f"{DIRECTORY}/{name}") for name in disk.list(DIRECTORY)} == before


def test_a_bit_flipped_anywhere_below_the_last_durable_mark_is_damage_and_its_place_is_told() -> None:
    disk, _ = written(vault(1))
    starts = [start for start, _ in record_starts(disk.read(FIRST))]
    for offset in [*range(320), *range(320, RECORDS_AT, 61), *range(RECORDS_AT, groups_of(disk.read(FIRST))[-1], 3)]:
        found = disk.after_crash(KEPT)
        found.flip(FIRST, offset, bit=offset % 8)
        with pytest.raises(CorruptData) as raised:
            open_journal(found, vault(1))
        assert raised.value.path == FIRST
        if offset >= RECORDS_AT:
            assert raised.value.offset == max(start for start in starts if start <= offset)


def test_a_torn_group_is_cut_as_a_whole_wherever_it_was_torn() -> None:
    disk, journal = written(vault(1))
    data = disk.read(FIRST)
    last, end = groups_of(data)[-1], list(record_starts(data))[-1][0]
    for size in [*range(last, last + 60), *range(last + 60, end, 7), end - 1]:
        found = disk.after_crash(KEPT)
        found.cut(FIRST, size)
        opened = open_journal(found, vault(1))
        assert opened.entries == journal.entries[:-2], size
        add(opened)
        assert open_journal(found.after_crash(LOST), vault(1)).entries == opened.entries


def test_a_changed_group_with_a_right_checksum_is_refused() -> None:
    disk, _ = written(vault(1))
    data = disk.read(FIRST)
    for start, end in sealed(data)[:2]:
        for offset in range(start + 9, end, 3):
            record = bytearray(data[start:end])
            record[offset - start] ^= 1
            found = rewrite(disk, FIRST, data[:start] + with_checksum(bytes(record)) + data[end:])
            with pytest.raises(CorruptData, match="changed, or belongs to another place") as raised:
                open_journal(found, vault(1))
            assert raised.value.offset == start


def test_a_group_that_was_put_in_the_place_of_another_is_refused() -> None:
    disk, _ = written(vault(1))
    data = disk.read(FIRST)
    (first, first_end), (second, second_end) = sealed(data)[1:3]
    assert first_end - first == second_end - second
    swapped = (
        data[:first] + data[second:second_end] + data[first_end:second] + data[first:first_end] + data[second_end:]
    )
    with pytest.raises(CorruptData, match="belongs to another place"):
        open_journal(rewrite(disk, FIRST, swapped), vault(1))


def test_records_in_clear_are_refused_in_an_encrypted_segment() -> None:
    disk, journal = written(vault(1))
    data = disk.read(FIRST)
    end = list(record_starts(data))[-1][0]
    command = b"\0forged"
    record = form.entry_head(command, journal.entries[-1][1] + 1, 1) + command
    with pytest.raises(CorruptData, match="has no place here"):
        open_journal(rewrite(disk, FIRST, data[:end] + record + data[end + len(record) :]), vault(1))


def test_a_segment_of_another_journal_with_the_same_keys_is_refused() -> None:
    disk, _ = written(vault(1), groups=60)
    other, _ = written(vault(1), groups=60, size=36)
    with pytest.raises(CorruptData):
        open_journal(rewrite(disk, FIRST, other.read(FIRST)), vault(1))


def test_a_header_that_was_changed_with_a_right_checksum_is_refused() -> None:
    disk, _ = written(vault(1))
    data = disk.read(FIRST)
    length = struct.unpack_from("<I", data, 12)[0]
    for offset in range(16, length):
        head = bytearray(data)
        head[offset] ^= 1
        head[8:12] = struct.pack("<I", google_crc32c.value(bytes(head[12:length])))
        with pytest.raises((CorruptData, WrongKey)):
            open_journal(rewrite(disk, FIRST, bytes(head)), vault(1))


def test_another_active_key_begins_another_segment_and_the_old_one_is_needed_until_it_is_dropped() -> None:
    keys = vault(1, 2)
    disk, journal = written(keys)
    keys.replace(ring(2, 1))
    journal.renew()
    add(journal)
    assert [segment.key_id for segment in journal.segments] == [1, 2]
    behind = last_by_other_key(journal.segments, 2)
    assert behind == journal.segments[-1].before_index
    with pytest.raises(WrongKey):
        open_journal(disk.after_crash(LOST), vault(2))
    assert open_journal(disk.after_crash(LOST), vault(2, 1)).entries == journal.entries
    journal.set_commit(journal.entries[-1][1])
    journal.compact(behind, 0)
    journal.sync(force_commit=True)
    assert open_journal(disk.after_crash(LOST), vault(2)).entries[1:] == journal.entries[1:]
    assert last_by_other_key(journal.segments, 2) == 0


def test_a_plain_journal_goes_on_encrypted_and_back() -> None:
    disk, journal = written(NO_KEYS)
    on = open_journal(disk, vault(1))
    add(on)
    assert [segment.key_id for segment in on.segments] == [0, 1]
    off = open_journal(disk.after_crash(LOST), vault(1, active=0))
    add(off)
    assert [segment.key_id for segment in off.segments] == [0, 1, 0]
    assert off.entries[: len(journal.entries)] == journal.entries
    assert open_journal(disk.after_crash(LOST), vault(1, active=0)).entries[: len(on.entries)] == on.entries


def test_two_groups_that_were_written_at_one_place_have_two_nonces() -> None:
    disk, _ = written(vault(1))
    data = disk.read(FIRST)
    start, _end = sealed(data)[-1]
    found = disk.after_crash(KEPT)
    found.cut(FIRST, start + 5)
    opened = open_journal(found, vault(1))
    add(opened)
    again = found.read(FIRST)
    nonces = [again[at + 9 : at + 21] for at, _ in sealed(again)] + [data[start + 9 : start + 21]]
    assert len(set(nonces)) == len(nonces)


# -- snapshots


def test_a_snapshot_comes_back_by_its_key_and_by_no_other() -> None:
    disk = node_disk()
    info = save(SnapshotStore(disk, "data/snapshots", vault(5)), 10, FRAMES)
    assert b"x" * 50 not in disk.read(info.path)
    found = SnapshotStore(disk.after_crash(LOST), "data/snapshots", vault(6, 5))
    assert found.latest() == info
    assert info.key_id == 5
    assert list(found.frames(info)) == FRAMES
    assert not found.current
    for keys in (NO_KEYS, vault(6), Vault(KeyRing(5, {5: key(6)}))):
        with pytest.raises(WrongKey, match="key 5"):
            SnapshotStore(disk.after_crash(LOST), "data/snapshots", keys).latest()
    assert disk.open_files == 0


def test_a_snapshot_of_the_same_entry_by_another_key_takes_its_place() -> None:
    disk, keys = node_disk(), vault(1)
    store = SnapshotStore(disk, "data/snapshots", keys)
    save(store, 10, FRAMES)
    keys.replace(ring(2, 1))
    assert save(store, 10, FRAMES).key_id == 2
    assert len(disk.list("data/snapshots")) == 1
    assert list(SnapshotStore(disk, "data/snapshots", vault(2)).frames(store.latest())) == FRAMES  # type: ignore[arg-type]


@pytest.mark.parametrize(("mine", "theirs"), [(1, 2), (1, None), (None, 2)])
def test_a_snapshot_travels_in_clear_and_is_kept_by_the_receivers_own_key(mine: int | None, theirs: int | None) -> None:
    from_disk, disk = node_disk(), node_disk()
    sender = SnapshotStore(from_disk, "data/snapshots", vault(mine) if mine else NO_KEYS)
    keys = vault(theirs) if theirs else NO_KEYS
    receiver = SnapshotStore(disk, "data/snapshots", keys)
    save(sender, 10, [*FRAMES, random.Random(2).randbytes(3 * CHUNK)])
    opened = sender.open_latest()
    assert opened is not None
    info, file = opened
    incoming = receiver.incoming(info.index, info.term, info.size)
    for offset, data in pieces(file, 7_000):
        incoming.write(offset, data)
    got = incoming.commit()
    assert (got.size, got.key_id) == (info.size, theirs or 0)
    again = SnapshotStore(disk.after_crash(LOST), "data/snapshots", keys)
    assert list(again.frames(got)) == list(sender.frames(info))
    assert from_disk.open_files == disk.open_files == 0


def test_a_backup_is_the_file_as_it_is_stored(tmp_path: Path) -> None:
    disk = node_disk()
    store = SnapshotStore(disk, "data/snapshots", vault(5))
    info = save(store, 10, FRAMES)
    opened = store.open_stored()
    assert opened is not None
    data = opened[1].pread(1 << 20, 0)
    assert opened[0].size == len(data) == len(disk.read(info.path)) == stored_size(info.size)
    (tmp_path / "backup").write_bytes(data)
    path = str(tmp_path / "backup")
    assert check_if_sealed(OsDisk(), path) == 5
    assert check_snapshot(OsDisk(), path, vault(5))[:2] == (10, 2)


# -- files within


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_was_written_in_any_pieces_is_read_in_any_pieces(tmp_path: Path, size: int) -> None:
    rng, path = random.Random(size), str(tmp_path / "file")
    content = rng.randbytes(size)
    file, key_id = create_sealed(OsDisk(), path, vault(4))
    offset = 0
    while offset < size:
        piece = content[offset : offset + rng.randint(1, CHUNK)]
        file.pwrite(piece, offset)
        offset += len(piece)
    file.sync()
    file.sync()
    with pytest.raises(ValueError, match="once"):
        file.pwrite(b"more", size)
    file.close()
    found, found_id = open_clear(OsDisk(), path, vault(4))
    assert (found.size(), key_id, found_id) == (size, 4, 4)
    assert Path(path).stat().st_size == stored_size(size)
    assert found.pread(size + 10, 0) == content
    for _ in range(20):
        at, many = rng.randint(0, size + 5), rng.randint(0, 2 * CHUNK)
        assert found.pread(many, at) == content[at : at + many]
    found.close()


def sealed_bytes(tmp_path: Path, content: bytes, number: int = 4) -> bytes:
    path = tmp_path / "made"
    path.unlink(missing_ok=True)
    file, _ = create_sealed(OsDisk(), str(path), vault(number))
    file.pwrite(content, 0)
    file.sync()
    file.close()
    return path.read_bytes()


def read_all(tmp_path: Path, data: bytes, keys: Vault) -> bytes:
    path = tmp_path / "changed"
    path.write_bytes(data)
    file, _ = open_clear(OsDisk(), str(path), keys)
    try:
        return file.pread(1 << 30, 0)
    finally:
        file.close()


def test_cut_short_or_flipped_anywhere_a_file_is_refused_with_or_without_its_key(tmp_path: Path) -> None:
    data = sealed_bytes(tmp_path, random.Random(1).randbytes(2 * CHUNK + 100))
    rng = random.Random(2)
    stored = CHUNK + 20
    header = len(data) - 2 * stored - 120
    cuts = [
        *range(8, header + 30),
        header + stored,
        header + 2 * stored,
        *(rng.randrange(8, len(data)) for _ in range(8)),
    ]
    for size in cuts:
        with pytest.raises(CorruptData):
            read_all(tmp_path, data[:size], vault(4))
        with pytest.raises(CorruptData):
            check_if_sealed(OsDisk(), str(tmp_path / "changed"))
    for offset in [*range(8, header + 30, 3), *(rng.randrange(8, len(data)) for _ in range(10)), len(data) - 1]:
        flipped = data[:offset] + bytes([data[offset] ^ 4]) + data[offset + 1 :]
        with pytest.raises(CorruptData):
            read_all(tmp_path, flipped, vault(4))
        with pytest.raises(CorruptData):
            check_if_sealed(OsDisk(), str(tmp_path / "changed"))


def test_chunks_that_were_swapped_between_places_or_files_are_refused_although_checksums_fit(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * CHUNK)
    data, other = sealed_bytes(tmp_path, content), sealed_bytes(tmp_path, content)
    stored = CHUNK + 20
    header = len(data) - 3 * stored

    def chunk(of: bytes, number: int, place: int, last: bool = False) -> bytes:
        body = of[header + number * stored + 4 : header + (number + 1) * stored]
        crc = google_crc32c.extend(google_crc32c.value(struct.pack("<Q?3x", place, last)), body)
        return struct.pack("<I", crc) + body

    forged = {
        "another place": data[:header] + chunk(data, 1, 0) + chunk(data, 0, 1) + data[header + 2 * stored :],
        "another file": data[:header] + chunk(other, 0, 0) + data[header + stored :],
        "cut at a chunk": data[:header] + chunk(data, 0, 0, last=True),
    }
    for how, made in forged.items():
        (tmp_path / "changed").write_bytes(made)
        assert check_if_sealed(OsDisk(), str(tmp_path / "changed")) == 4, how  # nothing that a checksum could tell
        with pytest.raises(CorruptData, match="belongs to another place"):
            read_all(tmp_path, made, vault(4))
    assert read_all(tmp_path, data, vault(4)) == content


def test_a_write_that_failed_is_never_tried_again_with_other_bytes(tmp_path: Path) -> None:
    disk = node_disk()
    disk.mkdir("data/s")
    file, _ = create_sealed(disk, "data/s/file", vault(4))
    disk.failing["pwrite"] = 5
    with pytest.raises(OSError, match="error"):
        file.pwrite(bytes(2 * CHUNK), 0)
    disk.failing.clear()
    with pytest.raises(OSError, match="error"):
        file.pwrite(b"other", 0)
    with pytest.raises(OSError, match="error"):
        file.sync()
    file.close()


def test_the_same_header_tells_a_plain_journal_from_an_encrypted_one() -> None:
    header = form.SegmentHeader(0, 3, b"12345678", 0, 1, 0, 2, "n1", 1, Configuration(0, ()))
    plain, start = form.decode_header(form.encode_header(header), "x")
    assert (plain, start) == (header, RECORDS_AT)
    region, _ = form.encode_sealed_header(header, vault(9), 9)
    found, start = form.decode_header(region, "x")
    assert found._replace(key=None) == header
    assert found.key is not None
    assert (found.key.key_id, start, len(region)) == (9, RECORDS_AT, RECORDS_AT)

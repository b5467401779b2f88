"""The snapshot store: what is put in place is whole and checked, whatever happens on the way."""

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvstore import limits
from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.disk import File, OsDisk
from kvstore.consensus.snapshots import SnapshotInfo, SnapshotStore
from kvstore.errors import CorruptData, StorageFull
from tests.support.crash_disk import KEPT, LOST, CrashDisk, Fate, PowerLoss
from tests.support.journal_model import node_disk

DIRECTORY = "data/snapshots"
MEMBERS = Configuration(3, (Member("n1", "a:1", "http://a", True, "id1"),))
FRAMES = [b"header", b"x" * 5000, random.Random(1).randbytes(3000), b"\0"]


def save(store: SnapshotStore, index: int, frames: list[bytes], term: int = 2) -> SnapshotInfo:
    writer = store.writer(index, term, MEMBERS)
    for frame in frames:
        writer.add(frame)
    return writer.commit()


def pieces(file: File, size: int) -> Iterator[tuple[int, bytes]]:
    for offset in range(0, file.size(), size):
        yield offset, file.pread(size, offset)
    file.close()


def fates() -> list[Fate]:
    return [LOST, KEPT, *(random.Random(seed).randrange for seed in range(8))]


def names(disk: CrashDisk) -> list[str]:
    return disk.list(DIRECTORY)


def test_a_snapshot_comes_back_frame_by_frame_with_what_it_covers() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    assert store.latest() is None
    info = save(store, 10, FRAMES)
    assert store.latest() == info
    found = SnapshotStore(disk.after_crash(LOST), DIRECTORY)
    assert found.latest() == info
    assert (info.index, info.term, info.configuration) == (10, 2, MEMBERS)
    assert info.size == len(disk.read(info.path)) < sum(map(len, FRAMES))
    assert list(found.frames(info)) == FRAMES
    assert disk.open_files == 0


def test_a_snapshot_without_frames_is_one_too() -> None:
    store = SnapshotStore(node_disk(), DIRECTORY)
    assert list(store.frames(save(store, 10, []))) == []


def test_it_works_on_the_disk_of_the_operating_system(tmp_path: Path) -> None:
    store = SnapshotStore(OsDisk(), str(tmp_path / "snapshots"))
    save(store, 10, FRAMES)
    info = save(store, 20, FRAMES[::-1])
    again = SnapshotStore(OsDisk(), str(tmp_path / "snapshots"))
    assert again.latest() == info
    assert list(again.frames(info)) == FRAMES[::-1]
    assert len(list((tmp_path / "snapshots").iterdir())) == 1


def test_every_flipped_bit_is_found() -> None:
    disk = node_disk()
    info = save(SnapshotStore(disk, DIRECTORY), 10, [b"abc", b"x" * 300])
    for offset in range(info.size):
        found = disk.after_crash(KEPT)
        found.flip(info.path, offset, bit=offset % 8)
        with pytest.raises(CorruptData) as raised:
            SnapshotStore(found, DIRECTORY).latest()
        assert raised.value.path == info.path
        assert raised.value.offset <= max(offset, 16)
        assert raised.value.advice
        with pytest.raises(CorruptData):
            list(SnapshotStore(found, DIRECTORY).frames(info))
        assert found.open_files == 0


def test_every_cut_and_every_addition_is_found() -> None:
    disk = node_disk()
    info = save(SnapshotStore(disk, DIRECTORY), 10, [b"abc", b"x" * 300])
    for size in [*range(info.size), info.size + 1, info.size + 100]:
        found = disk.after_crash(KEPT)
        file = found.open(info.path)
        file.truncate(size)
        file.sync()
        with pytest.raises(CorruptData):
            SnapshotStore(found, DIRECTORY).latest()


def test_a_damaged_snapshot_is_not_passed_over_for_an_older_one() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    save(store, 10, FRAMES)
    disk.failing["remove"] = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        save(store, 20, FRAMES)
    disk.failing.clear()
    assert len(names(disk)) == 2
    disk.flip(f"{DIRECTORY}/{names(disk)[1]}", 200)
    with pytest.raises(CorruptData):
        SnapshotStore(disk, DIRECTORY).latest()


def test_a_snapshot_under_another_name_is_refused() -> None:
    disk = node_disk()
    info = save(SnapshotStore(disk, DIRECTORY), 10, FRAMES)
    disk.rename(info.path, info.path.replace("10-", "11-"))
    with pytest.raises(CorruptData, match="not its name's"):
        SnapshotStore(disk, DIRECTORY).latest()


def operations_of_a_second_snapshot() -> int:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    save(store, 10, FRAMES)
    before = disk.operations
    save(store, 20, FRAMES[::-1])
    return disk.operations - before


@pytest.mark.parametrize("after", range(1, operations_of_a_second_snapshot() + 2))
def test_power_lost_before_any_one_disk_operation_leaves_the_old_snapshot_or_the_new_one(after: int) -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    save(store, 10, FRAMES)
    disk.crash_at = disk.operations + after
    finished = False
    try:
        save(store, 20, FRAMES[::-1])
        finished = True
    except PowerLoss:
        pass
    for fate in fates():
        found = disk.after_crash(fate)
        again = SnapshotStore(found, DIRECTORY)
        info = again.latest()
        assert info is not None
        assert info.index == 20 or not finished
        assert list(again.frames(info)) == (FRAMES if info.index == 10 else FRAMES[::-1])
        assert len(names(found)) == 1, "leftovers and older snapshots are removed"
        # What was found and is built upon stays, also when the power goes again.
        assert SnapshotStore(found.after_crash(LOST), DIRECTORY).latest() == info


@pytest.mark.parametrize("after", range(1, operations_of_a_second_snapshot() + 1))
def test_what_is_found_after_a_killed_process_survives_the_loss_of_power_that_follows(after: int) -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    save(store, 10, FRAMES)
    disk.crash_at = disk.operations + after
    with pytest.raises(PowerLoss):
        save(store, 20, FRAMES[::-1])
    disk.crash_at = None
    info = SnapshotStore(disk, DIRECTORY).latest()
    assert info is not None
    assert SnapshotStore(disk.after_crash(LOST), DIRECTORY).latest() == info


def test_an_older_snapshot_that_is_finished_late_does_not_replace_a_newer_one() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    late = store.writer(10, 2, MEMBERS)
    newer = save(store, 20, FRAMES)
    late.add(b"old")
    assert late.commit() == newer
    assert store.latest() == newer
    assert names(disk) == [newer.path.rpartition("/")[2]]


def test_an_aborted_snapshot_leaves_nothing_and_takes_nothing() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    writer = store.writer(10, 2, MEMBERS)
    writer.add(b"half")
    writer.abort()
    writer.abort()
    assert names(disk) == []
    with pytest.raises(ValueError, match="aborted"):
        writer.add(b"more")
    with pytest.raises(ValueError, match="aborted"):
        writer.commit()
    assert disk.open_files == 0


@pytest.mark.parametrize("frame", [b"", bytes(limits.DECOMPRESSED_BYTES_MAX + 1)], ids=["empty", "too large"])
def test_frames_are_bounded(frame: bytes) -> None:
    store = SnapshotStore(node_disk(), DIRECTORY)
    with pytest.raises(ValueError, match="frame of"):
        store.writer(10, 2, MEMBERS).add(frame)


def test_a_full_disk_is_told_and_the_old_snapshot_stays() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    info = save(store, 10, FRAMES)
    disk.capacity_bytes -= disk.free_bytes("") - 1000
    writer = store.writer(20, 2, MEMBERS)
    with pytest.raises(StorageFull):
        writer.add(random.Random(2).randbytes(5000))
    writer.abort()
    with pytest.raises(StorageFull):
        store.incoming(20, 2, 5000)
    assert names(disk) == [info.path.rpartition("/")[2]]
    assert store.latest() == info
    assert disk.open_files == 0


def test_a_failed_fsync_puts_nothing_in_place() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    info = save(store, 10, FRAMES)
    disk.failing["sync"] = errno.EIO
    writer = store.writer(20, 2, MEMBERS)
    with pytest.raises(OSError, match="Input/output"):
        writer.commit()
    writer.abort()
    assert store.latest() == info
    assert len(names(disk)) == 1


def test_a_snapshot_travels_to_another_node_byte_by_byte() -> None:
    from_disk, disk = node_disk(), node_disk()
    sender = SnapshotStore(from_disk, DIRECTORY)
    receiver = SnapshotStore(disk, DIRECTORY)
    sent = save(sender, 10, FRAMES)
    incoming = receiver.incoming(sent.index, sent.term, sent.size)
    for offset, data in pieces(from_disk.open(sent.path), 1000):
        assert incoming.offset == offset
        incoming.write(offset, data)
    assert incoming.commit() == sent
    found = SnapshotStore(disk.after_crash(LOST), DIRECTORY)
    assert found.latest() == sent
    assert list(found.frames(sent)) == FRAMES
    assert disk.open_files == 0


@pytest.mark.parametrize("damage", ["bit", "short", "index", "term"])
def test_a_snapshot_that_was_damaged_on_its_way_is_refused_and_leaves_nothing(damage: str) -> None:
    from_disk, disk = node_disk(), node_disk()
    sender = SnapshotStore(from_disk, DIRECTORY)
    receiver = SnapshotStore(disk, DIRECTORY)
    sent = save(sender, 10, FRAMES)
    incoming = receiver.incoming(sent.index + (damage == "index"), sent.term + (damage == "term"), sent.size)
    for offset, data in pieces(from_disk.open(sent.path), 1000):
        if damage == "bit" and offset == 1000:
            data = bytes([data[0] ^ 1]) + data[1:]
        if not (damage == "short" and offset + len(data) == sent.size):
            incoming.write(offset, data)
    with pytest.raises(CorruptData):
        incoming.commit()
    assert names(disk) == []
    assert receiver.latest() is None
    assert disk.open_files == 0


def test_bytes_out_of_order_or_beyond_the_announced_size_are_refused() -> None:
    incoming = SnapshotStore(node_disk(), DIRECTORY).incoming(10, 2, 100)
    incoming.write(0, b"x" * 50)
    for offset, size in ((0, 10), (60, 10), (50, 51)):
        with pytest.raises(ValueError, match="of 100 are here"):
            incoming.write(offset, b"x" * size)
    incoming.write(50, b"x" * 50)


def test_a_snapshot_that_is_being_sent_stays_readable_when_a_newer_one_replaces_it() -> None:
    disk = node_disk()
    store = SnapshotStore(disk, DIRECTORY)
    old = save(store, 10, FRAMES)
    whole = disk.read(old.path)
    reader, frames = disk.open(old.path), store.frames(old)
    save(store, 20, [b"new"])
    assert not disk.exists(old.path)
    assert b"".join(data for _, data in pieces(reader, 700)) == whole
    assert list(frames) == FRAMES


def test_a_snapshot_of_a_later_format_asks_for_a_later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = node_disk()
    with monkeypatch.context() as patch:
        patch.setattr("kvstore.consensus.snapshots.FORMAT_VERSION", 2)
        save(SnapshotStore(disk, DIRECTORY), 10, FRAMES)
    with pytest.raises(CorruptData, match="Start the version of kvstore that wrote it"):
        SnapshotStore(disk, DIRECTORY).latest()

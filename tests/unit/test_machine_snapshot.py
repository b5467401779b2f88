"""Snapshots of the state machine: bounded frames of one moment, and what a loader refuses."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from kvstore.limits import SNAPSHOT_FRAME_BYTES_MAX, SNAPSHOT_FRAME_RECORDS, VALUE_BYTES_MAX
from kvstore.model.commands import Command, Op, delete, put
from kvstore.model.stamp import Stamp
from kvstore.state.keyspace import Keyspace
from kvstore.state.machine import Machine
from kvstore.state.settings import default_settings
from kvstore.state.snapshot import CorruptSnapshot, SnapshotActive
from tests.support.machines import header_of, load, with_header, with_settings


def apply(machine: Machine, *ops: Op) -> None:
    index = machine.applied_index + 1
    machine.apply(index, machine.applied_term or 1, Command(0, list(ops), Stamp(index, 0, "n1", 0)))


def filled(count: int, *, deleted: int = 0) -> Machine:
    machine = Machine()
    for number in range(count + deleted):
        apply(machine, put(b"%06d" % number, b"value %d" % number))
    for number in range(deleted):
        apply(machine, delete(b"%06d" % number))
    return machine


def size(key: bytes, value: bytes) -> int:
    return len(key) + len(value)


@pytest.mark.parametrize(("count", "deleted"), [(0, 0), (1, 0), (0, 1), (1203, 700)])
def test_a_restored_machine_is_the_one_that_was_saved(count: int, deleted: int) -> None:
    machine = filled(count, deleted=deleted)
    machine.skip(machine.applied_index + 1, 5)
    frames = list(machine.snapshot())
    restored = load(frames)
    assert list(restored.snapshot()) == frames
    for name in ("applied_index", "applied_term", "revision", "last_stamp", "stamp_floor", "settings", "digest"):
        assert getattr(restored, name) == getattr(machine, name), name
    whole = machine.range(b"", None, limit=10_000, bytes_max=1 << 30)
    assert restored.range(b"", None, limit=10_000, bytes_max=1 << 30) == whole
    for each in (machine, restored):
        apply(each, put(b"000000", b"next"), put(b"new", b""), delete(b"000001"))
    assert restored.digest == machine.digest


def test_the_header_tells_what_follows() -> None:
    header = header_of(list(filled(3, deleted=2).snapshot()))
    assert header["format"] == 3
    assert (header["records"], header["tombstones"], header["revision"]) == (3, 2, 7)
    assert [header[name] for name in ("sessions", "idempotency_keys", "origins", "runs")] == [0, 0, 0, 0]
    assert header["sessions_next"] == 1
    assert (header["leases"], header["leases_next"]) == (0, 1)
    assert (header["history"], header["compaction_revision"]) == (7, 0)


def test_frames_hold_a_bounded_number_of_records() -> None:
    frames = [msgpack.unpackb(frame) for frame in filled(2 * SNAPSHOT_FRAME_RECORDS + 1).snapshot()]
    assert [len(rows) for kind, rows in frames if kind == 1] == [SNAPSHOT_FRAME_RECORDS, SNAPSHOT_FRAME_RECORDS, 1]


def test_frames_are_bounded_in_bytes() -> None:
    machine = Machine()
    for number in range(13):
        apply(machine, put(b"%d" % number, b"x" * VALUE_BYTES_MAX))
    frames = list(machine.snapshot())
    assert max(map(len, frames)) <= SNAPSHOT_FRAME_BYTES_MAX
    assert len(frames) >= 5
    assert load(frames).digest == machine.digest


def test_a_record_above_the_bound_travels_alone() -> None:
    machine = Machine()
    for number in range(3):
        apply(machine, put(b"%d" % number, b"x" * (SNAPSHOT_FRAME_BYTES_MAX + 1)))
    frames = list(machine.snapshot())
    assert [len(rows) for kind, rows in map(msgpack.unpackb, frames) if kind == 1] == [1, 1, 1]
    assert load(frames).digest == machine.digest


def test_a_snapshot_shows_the_moment_of_its_call_although_it_is_drained_later() -> None:
    machine = filled(2000, deleted=600)
    expected = list(filled(2000, deleted=600).snapshot())
    frames = machine.snapshot()
    apply(machine, put(b"000000", b"recreated"), put(b"000700", b"changed"), delete(b"002000"), put(b"9", b"new"))
    seen = [next(frames), next(frames)]
    apply(machine, *(delete(b"%06d" % number) for number in range(600, 2600)))
    apply(machine, *(put(b"%06d" % number, b"again") for number in range(300, 2000)))
    seen += frames
    restored = load(seen)
    assert restored.digest == load(expected).digest != machine.digest
    assert list(restored.snapshot()) == expected


def test_only_one_snapshot_at_a_time() -> None:
    machine = filled(3)
    first = machine.snapshot()
    with pytest.raises(SnapshotActive):
        machine.snapshot()
    assert load(first).digest == machine.digest
    assert load(machine.snapshot()).digest == machine.digest


def _close_at_once(machine: Machine) -> None:
    machine.snapshot().close()


def _close_midway(machine: Machine) -> None:
    frames = machine.snapshot()
    next(frames)
    next(frames)
    frames.close()


def _drop(machine: Machine) -> None:
    frames = machine.snapshot()
    next(frames)
    del frames


@pytest.mark.parametrize("give_up", [_close_at_once, _close_midway, _drop])
def test_a_snapshot_that_was_given_up_makes_room_for_the_next(give_up: Callable[[Machine], None]) -> None:
    machine = filled(1500)
    give_up(machine)
    apply(machine, put(b"000001", b"changed"))
    assert load(machine.snapshot()).digest == machine.digest


def test_a_walk_keeps_old_values_only_until_it_has_passed_them() -> None:
    keyspace: Keyspace[bytes] = Keyspace()
    for number in range(100):
        keyspace.put(b"%02d" % number, b"old")
    walk = keyspace.walk()
    for number in range(0, 100, 2):
        keyspace.put(b"%02d" % number, b"new")
        keyspace.remove(b"%02d" % (number + 1))
    assert walk.held == 150
    assert walk.chunk(60, 1 << 20, size) == [(b"%02d" % number, b"old") for number in range(60)]
    assert walk.held == 60
    keyspace.put(b"00", b"newer")
    keyspace.remove(b"02")
    assert walk.held == 60
    walk.close()
    assert walk.held == 0
    keyspace.put(b"98", b"newer")
    assert walk.held == 0
    assert not keyspace.walked


def test_a_key_that_changes_often_during_a_walk_is_kept_once() -> None:
    keyspace: Keyspace[bytes] = Keyspace()
    keyspace.put(b"k", b"old")
    walk = keyspace.walk()
    for _ in range(9):
        keyspace.remove(b"k")
        keyspace.put(b"k", b"new")
    assert walk.held == 2
    assert walk.chunk(10, 100, size) == [(b"k", b"old")]
    assert walk.held == 0


def test_a_walk_resumes_at_the_very_next_key() -> None:
    keyspace: Keyspace[bytes] = Keyspace()
    for key in (b"", b"a", b"a\x00", b"a\x00\x00"):
        keyspace.put(key, b"old")
    walk = keyspace.walk()
    seen = []
    for key in (b"", b"a", b"a\x00", b"a\x00\x00"):
        keyspace.put(key, b"new")
        seen += walk.chunk(1, 100, size)
        keyspace.put(key, b"newer")
    assert seen == [(key, b"old") for key in (b"", b"a", b"a\x00", b"a\x00\x00")]


def test_a_key_that_is_born_and_dies_during_a_walk_leaves_nothing_behind() -> None:
    keyspace: Keyspace[bytes] = Keyspace()
    walk = keyspace.walk()
    for number in range(50):
        keyspace.put(b"%02d" % number, b"")
        keyspace.remove(b"%02d" % number)
    assert walk.held == 0
    assert walk.chunk(10, 100, size) == []
    assert walk.done


def test_stepping_over_younger_keys_is_bounded_work() -> None:
    keyspace: Keyspace[bytes] = Keyspace()
    keyspace.put(b"z", b"old")
    walk = keyspace.walk()
    for number in range(25):
        keyspace.put(b"%02d" % number, b"young")
    steps = []
    while not walk.done:
        steps.append(walk.chunk(10, 100, size))
    assert steps == [[], [], [(b"z", b"old")]]


def test_a_second_walk_over_one_map_is_refused() -> None:
    keyspace: Keyspace[bytes] = Keyspace()
    walk = keyspace.walk()
    with pytest.raises(RuntimeError):
        keyspace.walk()
    walk.close()
    walk.close()
    keyspace.walk().close()


def test_every_frame_is_needed_in_its_place() -> None:
    frames = list(filled(1200, deleted=600).snapshot())
    assert len(frames) == 11
    for missing in range(len(frames)):
        with pytest.raises(CorruptSnapshot):
            load(frames[:missing] + frames[missing + 1 :])
    for left in range(len(frames) - 1):
        swapped = [*frames[:left], frames[left + 1], frames[left], *frames[left + 2 :]]
        with pytest.raises(CorruptSnapshot):
            load(swapped)
    for twice in range(len(frames)):
        with pytest.raises(CorruptSnapshot):
            load([*frames[: twice + 1], *frames[twice:]])
    with pytest.raises(CorruptSnapshot, match="no header"):
        load([])


def test_no_flipped_bit_of_records_or_tombstones_passes() -> None:
    frames = list(filled(3, deleted=2).snapshot())
    for number in (1, 2):
        assert msgpack.unpackb(frames[number])[0] == number
        for position in range(len(frames[number]) * 8):
            damaged = bytearray(frames[number])
            damaged[position // 8] ^= 1 << position % 8
            with pytest.raises(CorruptSnapshot):
                load([*frames[:number], bytes(damaged), *frames[number + 1 :]])


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"junk", msgpack.packb(1), msgpack.packb((10, [])), b"\x91" * 5000])
def test_garbage_is_refused(frame: bytes) -> None:
    frames = list(filled(2).snapshot())
    with pytest.raises(CorruptSnapshot):
        load([*frames, frame])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": 4},
        {"unheard_of": 1},
        {"sessions": 1},
        {"sessions": [1]},
        {"sessions_next": 0},
        {"sessions_next": -1},
        {"sessions_next": "1"},
        {"idempotency_keys": 1},
        {"origins": 1},
        {"runs": 1},
        {"history": 6},
        {"history": [1]},
        {"leases": 1},
        {"leases_next": 0},
        {"compaction_revision": 9},
        {"records": 4},
        {"tombstones": 0},
        {"digest": 1},
        {"revision": 1},
        {"revision": -1},
        {"index": "7"},
        {"last_stamp": [1, 2, "n1"]},
        {"last_stamp": [1, 2, 3, 4]},
        {"stamp_floor": [-1, 0, "", 0]},
        {"settings": {}},
        {"settings": {"tombstones_max": 5}},
        {"settings": default_settings() | {"tombstones_max": "many"}},
        {"settings": default_settings() | {"tombstones_max": True}},
        {"settings": default_settings() | {"tombstones_max": -1}},
    ],
)
def test_a_header_of_another_format_or_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    frames = list(filled(3, deleted=2).snapshot())
    load(with_header(frames))
    with pytest.raises(CorruptSnapshot):
        load(with_header(frames, **changes))


@pytest.mark.parametrize("name", sorted(default_settings()))
def test_a_header_without_a_setting_of_this_build_is_refused(name: str) -> None:
    settings = default_settings()
    del settings[name]
    with pytest.raises(CorruptSnapshot, match="settings"):
        load(with_header(list(filled(3).snapshot()), settings=settings))


def test_settings_of_a_newer_build_are_kept() -> None:
    newer = default_settings() | {"tombstones_max": 5, "leases_max": 60_000}
    restored = load(with_header(list(filled(3).snapshot()), settings=newer))
    assert restored.settings == newer
    assert load(restored.snapshot()).settings == newer


def test_tombstones_are_bounded_by_a_replicated_setting_and_the_floor_rises_to_what_was_dropped() -> None:
    machine = with_settings(filled(6), tombstones_max=2)
    for number in (3, 5, 1):
        apply(machine, delete(b"%06d" % number))
    assert machine.tombstone_count == 2
    first_dropped = Stamp(machine.applied_index - 2, 0, "n1", 0)
    assert machine.stamp_floor == first_dropped
    # Their age survives a restore: the next to go is that of key 5, which is not the first in order of keys.
    for each in (machine, load(machine.snapshot())):
        apply(each, delete(b"000000"))
        assert each.stamp_floor == Stamp(first_dropped.ms + 1, 0, "n1", 0)

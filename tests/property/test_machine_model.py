"""The state machine against plain dicts: random histories, ranges and paging, snapshots drained while they go on."""

import copy
from collections.abc import Generator
from typing import Any
from unittest import mock

import msgpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvstore.model.commands import OP_PUT, Command, Op, delete, put
from kvstore.model.results import APPLIED, NOT_FOUND, PRECONDITION_FAILED, OpResult, Record
from kvstore.model.stamp import ZERO_STAMP, Stamp
from kvstore.state import snapshot as snapshot_module
from kvstore.state.digest import raw_stamp, record_hasher, tombstone_hasher
from kvstore.state.machine import Machine

TOMBSTONES_MAX = 3

# Few keys, close to each other, so that histories meet: prefixes of one another, the lowest and the highest bytes.
KEYS = st.sampled_from([bytes(key) for key in (b"a", b"a\x00", b"aa", b"ab", b"b", b"ba", b"c", b"\x00", b"\xff")]) | (
    st.text("abc", min_size=1, max_size=2).map(str.encode)
)
BOUNDS = KEYS | st.just(b"")
CONDITIONS = st.sampled_from([None, None, None, 0, -1]) | st.integers(1, 40)
# Deletes are rarely refused, so that tombstones come to their bound.
OPS = st.builds(put, KEYS, st.binary(max_size=6), CONDITIONS) | st.builds(delete, KEYS, st.none() | CONDITIONS)
STAMPS = st.builds(Stamp, st.integers(0, 50), st.integers(0, 2), st.sampled_from(["n1", "n2"]), st.just(0))


class Model:
    """What the documentation says, as plainly as possible."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.tombstones: dict[bytes, tuple[Stamp, int]] = {}
        self.floor = ZERO_STAMP
        self.revision = 0
        self.last_stamp = ZERO_STAMP
        self.index = 1

    def apply(self, ops: list[Op], wanted: Stamp) -> list[OpResult]:
        last = self.last_stamp
        self.last_stamp = wanted if wanted > last else Stamp(last.ms, last.counter + 1, wanted.node, 0)
        self.index += 1
        return [self._one(op) for op in ops]

    def _one(self, op: Op) -> OpResult:
        key, condition, old = op[1], op[-1], self.records.get(op[1])
        holds = (
            condition is None
            or (condition == 0 and old is None)
            or (condition == -1 and old is not None)
            or (condition > 0 and old is not None and old.mod_revision == condition)
        )
        if not holds:
            return OpResult(PRECONDITION_FAILED, old.mod_revision if old else 0, old.version if old else 0)
        if op[0] == OP_PUT:
            self.revision += 1
            created, version = (old.create_revision, old.version + 1) if old else (self.revision, 1)
            self.records[key] = Record(op[2], created, self.revision, version, 0, self.last_stamp)
            self.tombstones.pop(key, None)
            return OpResult(APPLIED, self.revision, version)
        if old is None:
            return OpResult(NOT_FOUND, self.revision, 0)
        self.revision += 1
        del self.records[key]
        self.tombstones[key] = (self.last_stamp, self.revision)
        if len(self.tombstones) > TOMBSTONES_MAX:
            oldest = min(self.tombstones, key=lambda each: self.tombstones[each][1])
            self.floor = self.tombstones.pop(oldest)[0]
        return OpResult(APPLIED, self.revision, 0)

    def digest(self) -> int:
        total = 0
        for key, record in self.records.items():
            value, created, modified, version, lease, stamp = record
            total += record_hasher(raw_stamp(stamp))(key, value, created, modified, version, lease)
        for key, (stamp, revision) in self.tombstones.items():
            total += tombstone_hasher(raw_stamp(stamp))(key, revision)
        return total % 2**64

    def inside(self, start: bytes, end: bytes | None) -> list[tuple[bytes, Record]]:
        return sorted((key, self.records[key]) for key in self.records if start <= key and (end is None or key < end))


def load(frames: list[bytes]) -> Machine:
    loader = Machine.loader()
    for frame in frames:
        loader.add(frame)
    return loader.finish()


def small_machine() -> Machine:
    """A new machine that remembers few tombstones."""
    (first, *rest) = Machine().snapshot()
    kind, header = msgpack.unpackb(first)
    header["settings"]["tombstones_max"] = TOMBSTONES_MAX
    return load([msgpack.packb((kind, header)), *rest])


def assert_same(machine: Machine, model: Model) -> None:
    assert (machine.applied_index, machine.revision, machine.last_stamp) == (
        model.index,
        model.revision,
        model.last_stamp,
    )
    assert machine.stamp_floor == model.floor
    assert (len(machine), machine.tombstone_count) == (len(model.records), len(model.tombstones))
    assert machine.digest == model.digest()
    assert machine.range(b"", None, limit=1000, bytes_max=1 << 20)[0] == model.inside(b"", None)


class MachineAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # Frames of two records, so that the few keys make many.
        self.small_frames = mock.patch.object(snapshot_module, "SNAPSHOT_FRAME_RECORDS", 2)
        self.small_frames.start()
        self.machine = small_machine()
        self.model = Model()
        self.draining: Generator[bytes, None, None] | None = None
        self.drained: list[bytes] = []
        self.moment = self.model

    def teardown(self) -> None:
        self.small_frames.stop()

    @rule(ops=st.lists(OPS, max_size=6), wanted=STAMPS)
    def apply(self, ops: list[Op], wanted: Stamp) -> None:
        results = self.machine.apply(self.machine.applied_index + 1, 1, Command(0, ops, wanted))
        assert results == self.model.apply(ops, wanted)

    @rule()
    def skip(self) -> None:
        self.machine.skip(self.machine.applied_index + 1, 1)
        self.model.index += 1

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.machine.get(key) == self.model.records.get(key)

    @rule(
        start=BOUNDS,
        end=st.none() | BOUNDS,
        after=st.none() | BOUNDS,
        limit=st.integers(0, 5),
        bytes_max=st.integers(0, 30),
        reverse=st.booleans(),
    )
    def page(self, start: bytes, end: bytes | None, after: bytes | None, reverse: bool, **bounds: int) -> None:
        inside = self.model.inside(start, end)
        wanted = inside[::-1] if reverse else inside
        if after is not None:
            wanted = [row for row in wanted if (row[0] < after if reverse else row[0] > after)]
        page, count, more = self.machine.range(start, end, after=after, reverse=reverse, **bounds)
        assert count == len(inside)
        assert page == wanted[: len(page)]
        assert len(page) <= bounds["limit"]
        sizes = [len(key) + len(record.value) for key, record in wanted[: len(page) + 1]]
        assert sum(sizes[: len(page)]) <= bounds["bytes_max"] or len(page) <= 1
        if len(page) == len(wanted) or bounds["limit"] == 0:
            assert more is None
        else:
            assert more == page[-1][0]
            assert len(page) == bounds["limit"] or sum(sizes) > bounds["bytes_max"]

    @rule(start=BOUNDS, end=st.none() | BOUNDS, limit=st.integers(1, 3), reverse=st.booleans())
    def all_pages(self, start: bytes, end: bytes | None, limit: int, reverse: bool) -> None:
        rows: list[Any] = []
        after: bytes | None = None
        while True:
            page, _, after = self.machine.range(start, end, limit=limit, bytes_max=20, after=after, reverse=reverse)
            rows += page
            if after is None:
                break
        inside = self.model.inside(start, end)
        assert rows == (inside[::-1] if reverse else inside)

    @precondition(lambda self: self.draining is None)
    @rule()
    def begin_snapshot(self) -> None:
        self.moment = copy.deepcopy(self.model)
        self.draining, self.drained = self.machine.snapshot(), []

    @precondition(lambda self: self.draining is not None)
    @rule(frames=st.integers(1, 4))
    def drain(self, frames: int) -> None:
        assert self.draining is not None
        for _ in range(frames):
            frame = next(self.draining, None)
            if frame is None:
                assert_same(load(self.drained), self.moment)
                self.draining = None
                return
            self.drained.append(frame)

    @precondition(lambda self: self.draining is not None)
    @rule()
    def give_up_snapshot(self) -> None:
        assert self.draining is not None
        self.draining.close()
        self.draining = None

    @precondition(lambda self: self.draining is None)
    @rule()
    def restore(self) -> None:
        frames = list(self.machine.snapshot())
        self.machine = load(frames)
        assert list(self.machine.snapshot()) == frames

    @invariant()
    def same(self) -> None:
        assert_same(self.machine, self.model)


MachineAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachineAgainstModel = MachineAgainstModel.TestCase

"""The state machine: what a committed command does. All rules of the data model stand in this file.

1. Entries are applied in the order of the log, each index once.
2. An envelope whose kind or shape is not known changes nothing and raises UnknownCommand: skipping it would let
   replicas differ. All of it is checked before any of it is applied.
3. The operations of an envelope are independent and applied in their order; each one that changes something takes the
   next revision, a put of the same value too. Sessions come and go without one.
4. A condition is judged against the state at its turn. One that fails changes nothing, and uses no revision.
5. An entry has a stamp above every stamp before it: the envelope's own where it is ahead, else the last one with its
   counter plus one. The operations of clients carry it, so they are above whatever they meet.
6. A put of an absent key creates it (version 1, create_revision = mod_revision) and clears its tombstone.
7. A delete leaves a tombstone. Beyond the replicated bound the oldest is dropped, and `stamp_floor` rises to its stamp.
8. An intent (a write acknowledged at level ONE) carries the stamp that its node gave it, at most `clock_drift_ms_max`
   ahead of the leader's wall clock, or where its entry is, if that is ahead already; those of one node that are bounded
   so keep their order, and are above all that was applied before. Below the stamp of the key, of its
   tombstone or, for a key without either, `stamp_floor`, it is superseded: it changes nothing. Else it is applied, and
   a delete leaves a tombstone even for an absent key.
9. Repetitions are known by session, idempotency key or intent sequence, and answered instead of applied: rules S, I and
   O of `sessions`, `idempotency` and `origins`. All their times are log time: the milliseconds of the entry's stamp.
"""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any, Final

from kvstore.model import command_shapes
from kvstore.model.commands import (
    MUST_BE_ABSENT,
    MUST_EXIST,
    OP_DELETE,
    OP_OPEN_SESSION,
    OP_PUT,
    Command,
    Once,
    Op,
    Origin,
    request_digest,
)
from kvstore.model.results import (
    APPLIED,
    DUPLICATE,
    FULL,
    NOT_FOUND,
    PRECONDITION_FAILED,
    SUPERSEDED,
    OpResult,
    Record,
)
from kvstore.model.stamp import Stamp
from kvstore.state.contents import Contents, RawRecord
from kvstore.state.digest import DIGEST_MASK, RawStamp, RecordHash, raw_stamp, record_hasher, tombstone_hasher
from kvstore.state.settings import CLOCK_DRIFT_MS_MAX, IDEMPOTENCY_KEYS_MAX, TOMBSTONES_MAX
from kvstore.state.snapshot import SnapshotLoader, snapshot

_SUPERSEDED: Final = OpResult(SUPERSEDED, 0, 0)
_DUPLICATE: Final = OpResult(DUPLICATE, 0, 0)


class OutOfOrder(Exception):
    """An entry was handed over that is not the next one, or its term is below the last one's."""


class Machine:
    """The replicated state and its rules. A new one has applied index 1 (the no-op that every log begins with).

    Not for concurrent use: every call, and every step of a snapshot, belongs on one thread.
    """

    __slots__ = ("_contents",)

    def __init__(self) -> None:
        self._contents = Contents()

    @property
    def applied_index(self) -> int:
        """The index of the last entry that was applied or skipped."""
        return self._contents.index

    @property
    def applied_term(self) -> int:
        """The term of that entry."""
        return self._contents.term

    @property
    def revision(self) -> int:
        """The store's revision: how many operations have changed something."""
        return self._contents.revision

    @property
    def last_stamp(self) -> Stamp:
        """The stamp of the last envelope."""
        return Stamp._make(self._contents.last_stamp)

    @property
    def stamp_floor(self) -> Stamp:
        """The highest stamp of a tombstone that was dropped."""
        return Stamp._make(self._contents.stamp_floor)

    @property
    def settings(self) -> Mapping[str, int]:
        """The replicated settings, to look at."""
        return MappingProxyType(self._contents.settings)

    @property
    def digest(self) -> int:
        """64 bits of the records and tombstones: equal for equal content, whatever operations led to it."""
        return self._contents.digest

    @property
    def clock_drift_ms_max(self) -> int:
        """How far ahead a clock may be, in milliseconds."""
        return self._contents.settings[CLOCK_DRIFT_MS_MAX]

    @property
    def sessions_open(self) -> int:
        """How many sessions there are."""
        return len(self._contents.sessions)

    @property
    def answers_kept(self) -> int:
        """How many answers are remembered, of sessions and of idempotency keys."""
        return self._contents.sessions.answers + len(self._contents.idempotency_keys)

    def remembers(self, key: bytes) -> bool:
        """Whether a write under this idempotency key was applied, or superseded, and is remembered."""
        return key in self._contents.idempotency_keys

    @property
    def intent_keys_full(self) -> bool:
        """Whether as many idempotency keys of level ONE writes are remembered as may be (rule I4)."""
        contents = self._contents
        return contents.idempotency_keys.of_intents >= contents.settings[IDEMPOTENCY_KEYS_MAX]

    def last_intent(self, node: str, epoch: int) -> int | None:
        """The sequence of the last intent of `node` that was applied in `epoch`; None where that is not kept."""
        return self._contents.origins.last(node, epoch)

    def mark(self, node: str) -> tuple[int, int]:
        """(current epoch, sequence of the last intent applied) of `node`; (0, 0) if it never had any."""
        return self._contents.origins.mark(node)

    def intent_result(self, node: str, epoch: int, sequence: int) -> OpResult | None:
        """What became of an intent of `node`: None if it was not applied, or its result is not kept any more."""
        return self._contents.origins.result(node, epoch, sequence)

    def stamp_of(self, key: bytes) -> Stamp:
        """The stamp that an intent for `key` must not be below (rule 8)."""
        return Stamp._make(self._stamp_of(key, self._contents.records.get(key)))

    def inspect(self, key: bytes) -> tuple[int, int]:
        """(mod_revision, 64-bit digest) of what is really held under `key`, computed anew; a deleted key has those of
        its tombstone, one that was never there (0, 0).
        """
        contents = self._contents
        record = contents.records.get(key)
        if record is not None:
            value, create, mod, version, lease, stamp, _ = record
            return mod, record_hasher(stamp)(key, value, create, mod, version, lease)
        tombstone = contents.tombstones.get(key)
        return (0, 0) if tombstone is None else (tombstone[1], tombstone_hasher(tombstone[0])(key, tombstone[1]))

    @property
    def tombstone_count(self) -> int:
        """How many deleted keys are remembered."""
        return len(self._contents.tombstones)

    def __len__(self) -> int:
        """The number of keys."""
        return len(self._contents.records)

    def apply(self, index: int, term: int, command: Command) -> list[OpResult]:
        """Apply the entry at `index`; one result for each operation, in their order.

        Raises OutOfOrder, or UnknownCommand; either leaves everything as it was.
        """
        self._check_next(index, term)
        command_shapes.check(command)
        contents = self._contents
        stamp = _stamp_after(contents.last_stamp, command.stamp)
        contents.last_stamp = stamp
        contents.sessions.expire(stamp[0], contents.settings)
        contents.idempotency_keys.expire(stamp[0], contents.settings)
        if command.origin is not None:
            results = self._apply_intents(command.origin, command.ops, stamp)
        else:
            results = self._apply_ops(command.ops, stamp)
        contents.index = index
        contents.term = term
        return results

    def skip(self, index: int, term: int) -> None:
        """Note an entry that changes nothing here (no-op, configuration). Raises OutOfOrder."""
        self._check_next(index, term)
        self._contents.index = index
        self._contents.term = term

    def get(self, key: bytes) -> Record | None:
        """The record of `key`, or None."""
        raw = self._contents.records.get(key)
        return None if raw is None else _record(raw)

    def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        limit: int,
        after: bytes | None = None,
        bytes_max: int,
        reverse: bool = False,
    ) -> tuple[list[tuple[bytes, Record]], int, bytes | None]:
        """One page of the keys from `start` up to `end` (exclusive; None: no upper bound), falling if `reverse`.

        Returns (page, number of keys in the whole range, last key of the page if more follow, else None); that key as
        `after` gives the next page. A page holds at most `limit` records and `bytes_max` bytes of keys and values, but
        never fewer than one record. `limit` 0 only counts. Raises ValueError for a negative `limit`.
        """
        if limit < 0:
            raise ValueError(f"limit {limit} is negative")
        records = self._contents.records
        count = records.count(start, end)
        page: list[tuple[bytes, Record]] = []
        if not limit:
            return page, count, None
        room = bytes_max
        for key in records.keys(start, end, after=after, reverse=reverse):
            raw = records.get(key)
            assert raw is not None
            room -= len(key) + len(raw[0])
            if page and (room < 0 or len(page) == limit):
                return page, count, page[-1][0]
            page.append((key, _record(raw)))
        return page, count, None

    def snapshot(self) -> Generator[bytes, None, None]:
        """Frames of the state at this call, to be drained while `apply` goes on; no step takes longer than one frame.

        One at a time: raises SnapshotActive while another is neither drained nor closed. `close()` gives it up.
        """
        return snapshot(self._contents)

    @classmethod
    def loader(cls) -> "MachineLoader":
        """A loader for the frames of `snapshot`."""
        return MachineLoader()

    def _check_next(self, index: int, term: int) -> None:
        contents = self._contents
        if index != contents.index + 1 or term < contents.term:
            raise OutOfOrder(f"entry {index} of term {term} after entry {contents.index} of term {contents.term}")

    # -- operations of clients

    def _apply_ops(self, ops: Any, stamp: RawStamp) -> list[OpResult]:
        record_hash = record_hasher(stamp)
        records = self._contents.records
        results = []
        for op in ops:
            kind = op[0]
            if kind == OP_PUT:
                if len(op) == 4:
                    _, key, value, condition = op
                    if condition is None:
                        results.append(self._write(key, value, records.get(key), stamp, record_hash))
                    else:
                        results.append(self._put(key, value, condition, stamp, record_hash))
                else:
                    results.append(self._once(op[:4], op[4], stamp, record_hash))
            elif kind == OP_DELETE:
                if len(op) == 3:
                    results.append(self._delete(op[1], op[2], stamp))
                else:
                    results.append(self._once(op[:3], op[3], stamp, record_hash))
            elif kind == OP_OPEN_SESSION:
                results.append(self._open_session(stamp[0]))
            else:
                closed = self._contents.sessions.close(op[1])
                results.append(OpResult(APPLIED if closed else NOT_FOUND, self._contents.revision, 0))
        return results

    def _open_session(self, now_ms: int) -> OpResult:
        number = self._contents.sessions.open(now_ms, self._contents.settings)
        return OpResult(FULL, 0, 0) if number is None else OpResult(APPLIED, number, 0)

    def _once(self, op: Op, once: Once, stamp: RawStamp, record_hash: RecordHash) -> OpResult:
        """Apply `op` unless it was before; then its first answer is the answer."""
        contents = self._contents
        value = op[2] if op[0] == OP_PUT else b""
        digest = request_digest(op[0], op[1], value, op[-1])
        if isinstance(once, bytes):
            kept = contents.idempotency_keys.answer(once, digest, contents.settings)
        else:
            kept = contents.sessions.answer(*once, digest, stamp[0], contents.settings)
        if kept is not None:
            return kept
        if op[0] == OP_PUT:
            result = self._put(op[1], value, op[3], stamp, record_hash)
        else:
            result = self._delete(op[1], op[2], stamp)
        if isinstance(once, bytes):
            contents.idempotency_keys.keep(once, digest, result, stamp[0])
        else:
            contents.sessions.keep(once[0], once[1], digest, result)
        return result

    def _put(
        self, key: bytes, value: bytes, condition: int | None, stamp: RawStamp, record_hash: RecordHash
    ) -> OpResult:
        old = self._contents.records.get(key)
        if condition is not None and not _holds(condition, old):
            return _refused(old)
        return self._write(key, value, old, stamp, record_hash)

    def _delete(self, key: bytes, condition: int | None, stamp: RawStamp) -> OpResult:
        old = self._contents.records.get(key)
        if condition is not None and not _holds(condition, old):
            return _refused(old)
        if old is None:
            return OpResult(NOT_FOUND, self._contents.revision, 0)
        return self._bury(key, old, stamp)

    # -- intents

    def _apply_intents(self, origin: Origin, ops: Any, entry_stamp: RawStamp) -> list[OpResult]:
        contents = self._contents
        known = contents.origins.admit(origin, contents.settings)
        if isinstance(known, OpResult):
            return [known] * len(ops)
        results = [_DUPLICATE] * min(known, len(ops))
        # Not counted from the entry's own stamp: batch after batch would push log time ahead of every clock.
        bound = max((origin.wall_ms + contents.settings[CLOCK_DRIFT_MS_MAX], 0), entry_stamp[:2])
        for place in range(len(results), len(ops)):
            op = ops[place]
            # Where many are bounded to one moment, their sequence alone gives their order.
            ms, counter = min((op[-3], op[-2]), bound)
            stamp = (ms, counter, origin.node, origin.first_sequence + place)
            result = self._apply_intent(op, stamp, entry_stamp[0])
            contents.origins.note(origin.node, result, contents.settings)
            results.append(result)
        return results

    def _apply_intent(self, op: Op, stamp: RawStamp, now_ms: int) -> OpResult:
        contents = self._contents
        kind, key, once = op[0], op[1], op[-1]
        value = op[2] if kind == OP_PUT else b""
        digest = 0
        if once is not None:
            digest = request_digest(kind, key, value, None)
            kept = contents.idempotency_keys.answer(once, digest, contents.settings, bounded=False)
            if kept is not None:
                return kept
        old = contents.records.get(key)
        if stamp < self._stamp_of(key, old):
            result = _SUPERSEDED
        elif kind == OP_PUT:
            result = self._write(key, value, old, stamp, record_hasher(stamp))
        else:
            result = self._bury(key, old, stamp)
        contents.last_stamp = max(contents.last_stamp, stamp)
        if once is not None:
            contents.idempotency_keys.keep(once, digest, result, now_ms, intent=True)
        return result

    def _stamp_of(self, key: bytes, record: RawRecord | None) -> RawStamp:
        if record is not None:
            return record[5]
        tombstone = self._contents.tombstones.get(key)
        return self._contents.stamp_floor if tombstone is None else tombstone[0]

    # -- what both do

    def _write(
        self, key: bytes, value: bytes, old: RawRecord | None, stamp: RawStamp, record_hash: RecordHash
    ) -> OpResult:
        contents = self._contents
        revision = contents.revision + 1
        if old is None:
            create, version, lease, replaced = revision, 1, 0, 0
            if contents.tombstones.get(key) is not None:
                replaced = contents.tombstones.remove(key)[2]
        else:
            create, version, lease, replaced = old[1], old[3] + 1, old[4], old[6]
        added = record_hash(key, value, create, revision, version, lease)
        contents.records.put(key, (value, create, revision, version, lease, stamp, added))
        contents.revision = revision
        contents.digest = (contents.digest + added - replaced) & DIGEST_MASK
        return OpResult(APPLIED, revision, version)

    def _bury(self, key: bytes, old: RawRecord | None, stamp: RawStamp) -> OpResult:
        """Leave a tombstone in the place of the record, of an older tombstone, or of nothing."""
        contents = self._contents
        revision = contents.revision + 1
        replaced = 0
        if old is not None:
            replaced = contents.records.remove(key)[6]
        elif contents.tombstones.get(key) is not None:
            replaced = contents.tombstones.remove(key)[2]
        added = tombstone_hasher(stamp)(key, revision)
        contents.tombstones.put(key, (stamp, revision, added))
        contents.revision = revision
        contents.digest = (contents.digest + added - replaced) & DIGEST_MASK
        self._bound_tombstones()
        return OpResult(APPLIED, revision, 0)

    def _bound_tombstones(self) -> None:
        contents = self._contents
        while len(contents.tombstones) > contents.settings[TOMBSTONES_MAX]:
            stamp, _, dropped = contents.tombstones.remove(contents.tombstones.oldest())
            contents.stamp_floor = max(contents.stamp_floor, stamp)
            contents.digest = (contents.digest - dropped) & DIGEST_MASK


class MachineLoader:
    """Builds a Machine from the frames of a snapshot, in their order."""

    __slots__ = ("_loader",)

    def __init__(self) -> None:
        self._loader = SnapshotLoader()

    def add(self, frame: bytes) -> None:
        """Take the next frame. Raises CorruptSnapshot."""
        self._loader.add(frame)

    def finish(self) -> Machine:
        """The machine as it was at the moment of the snapshot. Raises CorruptSnapshot if anything is missing."""
        machine = Machine()
        machine._contents = self._loader.finish()
        return machine


def _stamp_after(last: RawStamp, wanted: Stamp) -> RawStamp:
    if wanted > last:
        return raw_stamp(wanted)
    return (last[0], last[1] + 1, wanted.node, 0)


def _holds(condition: int, old: RawRecord | None) -> bool:
    if condition == MUST_BE_ABSENT:
        return old is None
    return old is not None and (condition == MUST_EXIST or old[2] == condition)


def _refused(old: RawRecord | None) -> OpResult:
    return OpResult(PRECONDITION_FAILED, 0, 0) if old is None else OpResult(PRECONDITION_FAILED, old[2], old[3])


def _record(raw: RawRecord) -> Record:
    return Record(raw[0], raw[1], raw[2], raw[3], raw[4], Stamp._make(raw[5]))

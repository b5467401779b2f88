"""The state machine: what a committed command does. All rules of the data model stand in this file.

1. Entries are applied in the order of the log, each index once.
2. An envelope whose kind or shape is not known changes nothing and raises UnknownCommand: skipping it would let
   replicas differ. All of it is checked before any of it is applied.
3. The operations of an envelope are independent and applied in their order; each one that changes something takes the
   next revision, a put of the same value too.
4. A condition is judged against the state at its turn. One that fails changes nothing, and uses no revision.
5. All operations of an envelope carry one stamp, above every stamp before it: the envelope's own where it is ahead,
   else the last one with its counter plus one.
6. A put of an absent key creates it (version 1, create_revision = mod_revision) and clears its tombstone.
7. A delete leaves a tombstone. Beyond the replicated bound the oldest is dropped, and `stamp_floor` rises to its stamp.
"""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any

from kvstore.model.commands import KIND_OPS, MUST_BE_ABSENT, MUST_EXIST, OP_DELETE, OP_PUT, Command, UnknownCommand
from kvstore.model.results import APPLIED, NOT_FOUND, PRECONDITION_FAILED, OpResult, Record
from kvstore.model.stamp import Stamp
from kvstore.state.contents import Contents, RawRecord
from kvstore.state.digest import DIGEST_MASK, RawStamp, RecordHash, raw_stamp, record_hasher, tombstone_hasher
from kvstore.state.settings import TOMBSTONES_MAX
from kvstore.state.snapshot import SnapshotLoader, snapshot


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
        _check_command(command)
        contents = self._contents
        stamp = _stamp_after(contents.last_stamp, command.stamp)
        record_hash = record_hasher(stamp)
        results = []
        for op in command.ops:
            if op[0] == OP_PUT:
                _, key, value, condition = op
                results.append(self._put(key, value, condition, stamp, record_hash))
            else:
                _, key, condition = op
                results.append(self._delete(key, condition, stamp))
        contents.last_stamp = stamp
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

    def _put(
        self, key: bytes, value: bytes, condition: int | None, stamp: RawStamp, record_hash: RecordHash
    ) -> OpResult:
        contents = self._contents
        old = contents.records.get(key)
        if condition is not None and not _holds(condition, old):
            return _refused(old)
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

    def _delete(self, key: bytes, condition: int | None, stamp: RawStamp) -> OpResult:
        contents = self._contents
        old = contents.records.get(key)
        if condition is not None and not _holds(condition, old):
            return _refused(old)
        if old is None:
            return OpResult(NOT_FOUND, contents.revision, 0)
        revision = contents.revision + 1
        added = tombstone_hasher(stamp)(key, revision)
        contents.records.remove(key)
        contents.tombstones.put(key, (stamp, revision, added))
        contents.revision = revision
        contents.digest = (contents.digest + added - old[6]) & DIGEST_MASK
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


def _check_command(command: Command) -> None:
    """Raise UnknownCommand unless every part has a shape that this build knows how to apply."""
    kind, ops, stamp, session, origin = command
    if kind != KIND_OPS or session is not None or origin is not None:
        raise UnknownCommand(f"kind {kind!r} with session {session!r} and origin {origin!r} is not known to this build")
    ms, counter, node, sequence = stamp
    if not (
        type(ms) is type(counter) is type(sequence) is int
        and type(node) is str
        and ms >= 0
        and counter >= 0
        and sequence >= 0
    ):
        raise UnknownCommand(f"malformed stamp {stamp!r}")
    if type(ops) not in (list, tuple):
        raise UnknownCommand(f"operations of type {type(ops).__name__}")
    for op in ops:
        if not _known(op):
            raise UnknownCommand(f"malformed or unknown operation {str(op)[:200]}")


def _known(op: Any) -> bool:
    if type(op) is not tuple or len(op) < 3 or type(op[1]) is not bytes:
        return False
    if op[0] == OP_PUT:
        if len(op) != 4 or type(op[2]) is not bytes:
            return False
    elif op[0] != OP_DELETE or len(op) != 3:
        return False
    condition = op[-1]
    return condition is None or (type(condition) is int and condition >= MUST_EXIST)


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

"""Transactions, carried out on the contents: rules T1 to T3 of `kvstore.model.transactions`.

First everything is decided on the state as it is: which lists are taken, what is read, whether all of it may be. Then
the changes are made, in the order of their keys, at one revision (rule H4 of `history`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kvstore.model.commands import OP_DELETE, OP_DELETE_RANGE, OP_PUT, OP_TXN
from kvstore.model.results import APPLIED, LEASE_NOT_FOUND, TOO_LARGE, OpResult
from kvstore.model.transactions import (
    EQUAL,
    GREATER,
    LESS,
    NOT_EQUAL,
    STEP_GET,
    STEP_RANGE,
    TARGET_CREATE_REVISION,
    TARGET_EXISTS,
    TARGET_LEASE,
    TARGET_MOD_REVISION,
    TARGET_VALUE,
    TARGET_VERSION,
    Comparison,
    Step,
    packed,
)
from kvstore.state import changes
from kvstore.state.contents import Contents
from kvstore.state.digest import RawStamp, RecordHash
from kvstore.state.raw import RawRecord
from kvstore.state.settings import CHANGES_MAX, LEASE_KEYS_MAX

_FIELDS: Final = {TARGET_VERSION: 3, TARGET_CREATE_REVISION: 1, TARGET_MOD_REVISION: 2, TARGET_LEASE: 4}

# What is counted for an answer besides keys and values.
_ANSWER_BYTES: Final = 80


class _Refused(Exception):
    """The transaction may not be carried out."""

    def __init__(self, status: int, version: int) -> None:
        super().__init__(status)
        self.result = OpResult(status, 0, version)


class _Plan:
    """What a transaction reads and changes, once its lists are chosen."""

    def __init__(self, contents: Contents, read_bytes_max: int) -> None:
        self._contents = contents
        self._room = read_bytes_max
        self._read_bytes_max = read_bytes_max
        self._changes_left = contents.settings[CHANGES_MAX]
        self._attached: dict[int, int] = {}
        self.puts: dict[bytes, Step] = {}
        self.deletes: set[bytes] = set()

    def choose(self, comparisons: Sequence[Comparison], then: Sequence[Step], otherwise: Sequence[Step]) -> list[Any]:
        """`[succeeded, answers]`, with a key in the place of each put's version, which is not known yet."""
        succeeded = all(_holds(self._contents.records.get(each[1]), each) for each in comparisons)
        return [succeeded, [self._step(step) for step in (then if succeeded else otherwise)]]

    def _step(self, step: Step) -> Any:
        kind = step[0]
        self._take(_ANSWER_BYTES)
        if kind == OP_PUT:
            self._put(step)
            return step[1]
        if kind == OP_DELETE:
            return self._delete([step[1]] if self._contents.records.get(step[1]) is not None else [])
        if kind == OP_DELETE_RANGE:
            self._count(self._contents.records.count(step[1], step[2]))
            return self._delete(list(self._contents.records.keys(step[1], step[2])), counted=True)
        if kind == STEP_GET:
            return self._read(self._contents.records.get(step[1]), 0)
        if kind == STEP_RANGE:
            return self._range(*step[1:])
        assert kind == OP_TXN
        return self.choose(*step[1:])

    def _put(self, step: Step) -> None:
        _, key, _, lease = step
        self._count(1)
        if lease > 0:
            if lease not in self._contents.leases:
                raise _Refused(LEASE_NOT_FOUND, 0)
            self._attached[lease] = self._attached.get(lease, self._contents.leases.count(lease)) + 1
            if self._attached[lease] > self._contents.settings[LEASE_KEYS_MAX]:
                raise _Refused(TOO_LARGE, self._attached[lease])
        self.puts[key] = step

    def _delete(self, keys: list[bytes], *, counted: bool = False) -> int:
        if not counted:
            self._count(len(keys))
        self.deletes.update(keys)
        return len(keys)

    def _range(self, start: bytes, end: bytes | None, limit: int, reverse: bool) -> list[Any]:
        records = self._contents.records
        rows: list[Any] = []
        for key in records.keys(start, end, reverse=bool(reverse)):
            if limit and len(rows) == limit:
                return [records.count(start, end), rows, True]
            rows.append([key, *self._read(records.get(key), len(key))])
        return [len(rows), rows, False]

    def _read(self, record: RawRecord | None, beside: int) -> Any:
        if record is None:
            return None
        self._take(_ANSWER_BYTES + beside + len(record[0]))
        return record[:6]

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise _Refused(TOO_LARGE, self._read_bytes_max)

    def _count(self, changes: int) -> None:
        self._changes_left -= changes
        if self._changes_left < 0:
            raise _Refused(TOO_LARGE, self._contents.settings[CHANGES_MAX])


Lists = tuple[Sequence[Comparison], Sequence[Step], Sequence[Step]]


def transact(
    contents: Contents, lists: Lists, stamp: RawStamp, record_hash: RecordHash, read_bytes_max: int
) -> OpResult:
    """Carry out a transaction whose answers may have `read_bytes_max` bytes."""
    plan = _Plan(contents, read_bytes_max)
    try:
        chosen = plan.choose(*lists)
    except _Refused as refused:
        return refused.result
    revision = contents.revision + 1
    versions: dict[bytes, int] = {}
    for key in sorted({*plan.puts, *plan.deletes}):
        old = contents.records.get(key)
        if key in plan.puts:
            _, _, value, lease = plan.puts[key]
            versions[key] = changes.write(contents, revision, key, value, old, stamp, record_hash, lease)
        else:
            changes.bury(contents, revision, key, old, stamp)
    return OpResult(APPLIED, contents.revision, int(chosen[0]), packed(_with_versions(chosen, lists, versions)))


def _with_versions(chosen: list[Any], lists: Lists, versions: dict[bytes, int]) -> list[Any]:
    """`chosen` with the versions of the puts in their places."""
    succeeded, answers = chosen
    steps = lists[1] if succeeded else lists[2]
    return [succeeded, list(_versioned(answers, steps, versions))]


def _versioned(answers: list[Any], steps: Sequence[Step], versions: dict[bytes, int]) -> Iterator[Any]:
    for answer, step in zip(answers, steps, strict=True):
        if step[0] == OP_PUT:
            yield versions[answer]
        elif step[0] == OP_TXN:
            yield _with_versions(answer, step[1:], versions)
        else:
            yield answer


def _holds(record: RawRecord | None, comparison: Comparison) -> bool:
    """T1."""
    target, _, relation, to = comparison
    if target == TARGET_EXISTS:
        return ((record is not None) == bool(to)) == (relation == EQUAL)
    if target == TARGET_VALUE:
        if record is None:
            return False
        present: Any = record[0]
    else:
        present = 0 if record is None else record[_FIELDS[target]]
    if relation == EQUAL:
        return bool(present == to)
    if relation == NOT_EQUAL:
        return bool(present != to)
    return bool(present < to) if relation == LESS else relation == GREATER and bool(present > to)

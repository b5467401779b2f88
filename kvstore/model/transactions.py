"""Transactions: comparisons, then one of two lists of steps, all of it at one revision.

    comparison  (target, key, relation, to)       to: an integer; bytes for TARGET_VALUE; 0 or 1 for TARGET_EXISTS
    step        (OP_PUT, key, value, lease)       lease as in `kvstore.model.commands`
                (OP_DELETE, key)
                (OP_DELETE_RANGE, start, end)
                (STEP_GET, key)
                (STEP_RANGE, start, end, limit, reverse)
                (OP_TXN, comparisons, then, otherwise)    in the outer transaction only

T1. Every comparison and every read is judged against the state before the transaction, wherever it stands. An absent
    key has version, revisions and lease 0; its value is neither equal to anything, nor different, less or greater.
T2. Of two steps that can both be carried out, no two change the same key, and none reads what one in front of it
    changes: it would seem to read what was written. So the order of steps decides nothing but the order of the answers.
T3. A transaction is carried out as a whole or not at all.

The answers to it, as `OpResult.detail`: `[succeeded, [answer, ...]]`, one for each step of the list that was taken.

    put           version that the key has now
    delete        1, or 0 if the key was absent
    delete range  how many keys
    get           [value, create_revision, mod_revision, version, lease, stamp] or None
    range         [number of keys in the range, [[key, *record], ...], whether there are more]
    transaction   [succeeded, [answer, ...]]
"""

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import msgpack

from kvstore.limits import KEY_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX
from kvstore.model.commands import KEEP_LEASE, OP_DELETE, OP_DELETE_RANGE, OP_PUT, OP_TXN, Once, Op
from kvstore.model.keys import successor

STEP_GET: Final = 20
STEP_RANGE: Final = 21

TARGET_VALUE: Final = 0
TARGET_VERSION: Final = 1
TARGET_CREATE_REVISION: Final = 2
TARGET_MOD_REVISION: Final = 3
TARGET_LEASE: Final = 4
TARGET_EXISTS: Final = 5

EQUAL: Final = 0
NOT_EQUAL: Final = 1
LESS: Final = 2
GREATER: Final = 3

Comparison = tuple[int, bytes, int, Any]
Step = tuple[Any, ...]


class BadTransaction(ValueError):
    """A transaction that cannot be one; the message is for the person who wrote it."""


class _Span(NamedTuple):
    """Keys from `start` up to `end` (exclusive; None: no upper bound) that a step reads or changes."""

    start: bytes
    end: bytes | None
    writes: bool

    def meets(self, earlier: "_Span") -> bool:
        """Whether both have a key in common, and the earlier one changes it, or both do."""
        if not earlier.writes:
            return False
        return (self.end is None or earlier.start < self.end) and (earlier.end is None or self.start < earlier.end)


def transaction(
    comparisons: Sequence[Comparison], then: Sequence[Step], otherwise: Sequence[Step], once: Once | None = None
) -> Op:
    """The operation."""
    op = (OP_TXN, tuple(comparisons), tuple(then), tuple(otherwise))
    return op if once is None else (*op, once)


def packed(chosen: list[Any]) -> bytes:
    """The answers `[succeeded, [answer, ...]]` as `OpResult.detail`."""
    detail: bytes = msgpack.packb(chosen)
    return detail


def unpacked(detail: bytes) -> tuple[bool, tuple[Any, ...]]:
    """What `packed` packed."""
    succeeded, answers = msgpack.unpackb(detail, use_list=False)
    return succeeded, answers


def check(comparisons: Any, then: Any, otherwise: Any) -> None:
    """Raise BadTransaction unless this is a transaction that can be applied (T2), within the bounds."""
    count = sum(1 for _ in _checked(comparisons, then, otherwise, nested=False))
    if count > TXN_OPS_MAX:
        raise BadTransaction(f"{count} operations and comparisons; a transaction takes at most {TXN_OPS_MAX}")
    for branch in (then, otherwise):
        _spans(branch)


def _checked(comparisons: Any, then: Any, otherwise: Any, *, nested: bool) -> Iterator[None]:
    """One item for each comparison and each step, all of them checked for themselves."""
    for part in (comparisons, then, otherwise):
        if type(part) is not tuple:
            raise BadTransaction("comparisons and operations are lists")
    for comparison in comparisons:
        _check_comparison(comparison)
        yield
    for step in (*then, *otherwise):
        if type(step) is tuple and len(step) == 4 and step[0] == OP_TXN:
            if nested:
                raise BadTransaction("a transaction within a transaction holds no other")
            yield from _checked(*step[1:], nested=True)
        else:
            _check_step(step)
        yield


def _check_comparison(comparison: Any) -> None:
    match comparison:
        case (int(target), bytes(key), int(relation), to) if 0 < len(key) <= KEY_BYTES_MAX and relation in range(4):
            if target == TARGET_VALUE and type(to) is bytes and len(to) <= VALUE_BYTES_MAX:
                return
            if target == TARGET_EXISTS and type(to) is int and to in (0, 1) and relation in (EQUAL, NOT_EQUAL):
                return
            if TARGET_VERSION <= target <= TARGET_LEASE and type(to) is int and 0 <= to < 1 << 63:
                return
    raise BadTransaction("a comparison is malformed")


def _check_step(step: Any) -> None:
    match step:
        case (kind, bytes(key), bytes(value), int(lease)) if kind == OP_PUT:
            fits = len(value) <= VALUE_BYTES_MAX and KEEP_LEASE <= lease < 1 << 63
            keys: tuple[bytes, ...] = (key,)
        case (kind, bytes(key)) if kind in (OP_DELETE, STEP_GET):
            fits, keys = True, (key,)
        case (kind, bytes(start), (None | bytes()) as end) if kind == OP_DELETE_RANGE:
            fits, keys = len(start) <= KEY_BYTES_MAX, () if end is None else (end,)
        case (kind, bytes(start), (None | bytes()) as end, int(limit), (0 | 1)) if kind == STEP_RANGE:
            fits, keys = len(start) <= KEY_BYTES_MAX and 0 <= limit < 1 << 31, () if end is None else (end,)
        case _:
            raise BadTransaction("an operation is malformed or unknown")
    if not fits or not all(0 < len(each) <= KEY_BYTES_MAX for each in keys):
        raise BadTransaction("an operation is out of bounds")


def _spans(steps: Sequence[Step]) -> list[_Span]:
    """What the steps of one list read and change. Raises BadTransaction where two of them meet (T2)."""
    found: list[_Span] = []
    together: list[list[_Span]] = []
    for step in steps:
        kind = step[0]
        if kind == OP_TXN:
            # Only one of its lists is carried out: they may meet each other, but nothing beside them.
            added = [*_spans(step[2]), *_spans(step[3])]
        elif kind in (OP_DELETE_RANGE, STEP_RANGE):
            added = [_Span(step[1], step[2], kind == OP_DELETE_RANGE)]
        else:
            added = [_Span(step[1], successor(step[1]), kind != STEP_GET)]
        found += added
        together.append(added)
    ordered = sorted(found, key=_start)
    # The common case: if no two neighbours meet, no two do.
    if all(before.end is not None and before.end <= after.start for before, after in pairwise(ordered)):
        return found
    for place, added in enumerate(together):
        for span in added:
            for other in chain.from_iterable(together[:place]):
                if span.meets(other):
                    raise BadTransaction(
                        f"two operations of one list meet at the key {max(span.start, other.start)!r}: each key is "
                        "changed once at most, and read only in front of that"
                    )
    return found


def _start(span: _Span) -> bytes:
    return span.start

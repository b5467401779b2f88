"""Opaque idempotency keys: any client may name a write, and repeat it under that name.

I1. A key is remembered, with the answer of its write, for `idempotency_window_ms` of log time at least.
I2. While it is remembered, the same request gets the same answer; another request under it is a conflict.
I3. A full table of younger keys, or of their answers' bytes, refuses a new one. Nothing is forgotten early.
I4. A write that was acknowledged at level ONE cannot be refused any more: it is applied and its key is remembered in
    any case. Such keys are counted apart, so that they take no room from others; nodes take in no further write of the
    kind while there are as many as the bound.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from kvstore.limits import IDEMPOTENCY_KEY_BYTES_MAX
from kvstore.model.results import FULL, ONCE_CONFLICT, OpResult
from kvstore.state.settings import IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_WINDOW_MS, KEPT_ANSWERS_BYTES_MAX

RawKept = tuple[int, int, int, int, int, bytes, int]
"""(ms, request digest, status, revision, version, detail, 1 for a write at level ONE)"""

_CONFLICT: Final = OpResult(ONCE_CONFLICT, 0, 0)
_FULL: Final = OpResult(FULL, 0, 0)


class IdempotencyKeys:
    """Key -> answer, in the order in which the keys came."""

    __slots__ = ("_bytes", "_first", "_kept", "_order", "of_intents")

    def __init__(self) -> None:
        self._kept: dict[bytes, RawKept] = {}
        # Taking the first key of a dict again and again is slow, and an OrderedDict is slow to copy: a list and a place
        # in it are neither.
        self._order: list[bytes] = []
        self._first = 0
        self._bytes = 0  # of details
        self.of_intents = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def expire(self, now_ms: int, settings: Mapping[str, int]) -> None:
        """I1, at log time `now_ms`."""
        due = now_ms - settings[IDEMPOTENCY_WINDOW_MS]
        order, first = self._order, self._first
        while first < len(order) and self._kept[order[first]][0] <= due:
            *_, detail, intent = self._kept.pop(order[first])
            self.of_intents -= intent
            self._bytes -= len(detail)
            first += 1
        if first > 1024 and 2 * first > len(order):
            del order[:first]
            first = 0
        self._first = first

    def answer(self, key: bytes, digest: int, settings: Mapping[str, int], *, bounded: bool = True) -> OpResult | None:
        """What the write is to be answered without being executed, or None: execute it, then call `keep`."""
        kept = self._kept.get(key)
        if kept is not None:
            return OpResult(*kept[2:6]) if kept[1] == digest else _CONFLICT
        full = len(self._kept) - self.of_intents >= settings[IDEMPOTENCY_KEYS_MAX]
        full = full or self._bytes >= settings[KEPT_ANSWERS_BYTES_MAX]
        return _FULL if bounded and full else None

    def keep(self, key: bytes, digest: int, result: OpResult, now_ms: int, *, intent: bool = False) -> None:
        """Remember the answer of a write that was executed; `intent`: of one at level ONE."""
        self._kept[key] = (now_ms, digest, *result, int(intent))
        self.of_intents += intent
        self._bytes += len(result.detail)
        self._order.append(key)

    # -- snapshots

    def copy(self) -> "IdempotencyKeys":
        """What is remembered now."""
        copied = IdempotencyKeys()
        copied._kept = self._kept.copy()
        copied._order = self._order[self._first :]
        copied.of_intents = self.of_intents
        copied._bytes = self._bytes
        return copied

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """(key, ms, digest, status, revision, version, detail, of an intent) of each, oldest first."""
        for key in islice(self._order, self._first, None):
            yield (key, *self._kept[key])

    def add_row(self, row: Any) -> None:
        """Take back one of `rows`. Raises ValueError or TypeError for anything else."""
        key, *kept = row
        if type(key) is not bytes or not 0 < len(key) <= IDEMPOTENCY_KEY_BYTES_MAX or key in self._kept:
            raise ValueError("an idempotency key that cannot be one")
        ms, digest, status, revision, version, detail, intent = kept
        numbers = (ms, digest, status, revision, version, intent)
        if any(type(number) is not int or number < 0 for number in numbers) or intent > 1 or type(detail) is not bytes:
            raise ValueError("the answer of an idempotency key")
        if self._order and ms < self._kept[self._order[-1]][0]:
            raise ValueError("idempotency keys that are not in the order of their age")
        self._kept[key] = (ms, digest, status, revision, version, detail, intent)
        self.of_intents += intent
        self._bytes += len(detail)
        self._order.append(key)

"""A counter: `increment` by a number (1 if none is given) and `read`. Bounds while it runs, the exact sum in the end.

A read is at least what was acknowledged before it began, at most what was asked for before it ended; increments of
unknown outcome may be in it or not. The final value is what was acknowledged plus some of the unknown ones, each once.

An increment whose answer tells where the counter stands then, `{"stands": n}`, is judged like a read that has itself in
it; and where counters only rise, no two of them stand at the same number.
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import FINAL, History, Operation

# Sums of the unknown increments are tried one by one only up to this many values.
_SUMS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter(Result):
    """`acknowledged` and `unknown` are sums of increments, `reads` counts those that were judged."""

    acknowledged: int
    unknown: int
    reads: int


def check(history: History, *, exactly_once: bool = True) -> Counter:
    """Every counter (key) of the history. `exactly_once=False`: an increment may count more than once."""
    found = Findings()
    acknowledged = unknown = judged = 0
    for operations in history.by_key().values():
        increments = [op for op in operations if op.f == "increment" and op.outcome != "fail"]
        if not increments:
            continue
        reads = [op for op in operations if op.f == "read" and op.outcome == "ok" and op.linearizable]
        acknowledged += sum(_amount(op) for op in increments if op.outcome == "ok")
        unknown += sum(_amount(op) for op in increments if op.outcome == "info")
        judged += len(reads)
        _check_bounds(increments, reads, found, exactly_once)
        if exactly_once and all(_amount(op) > 0 for op in increments):
            _check_answers(increments, found)
        if exactly_once:
            _check_final(increments, [op for op in reads if op.client == FINAL], found)
    return Counter(
        verdict=found.verdict(judged),
        broken=len(found),
        findings=first(found),
        acknowledged=acknowledged,
        unknown=unknown,
        reads=judged,
    )


def _check_bounds(
    increments: Sequence[Operation], reads: Iterable[Operation], found: Findings, exactly_once: bool
) -> None:
    rises = [op for op in increments if _amount(op) > 0]
    falls = [op for op in increments if _amount(op) < 0]
    certain_rises, certain_falls = _Sums(rises, certain=True), _Sums(falls, certain=True)
    possible_rises, possible_falls = _Sums(rises, certain=False), _Sums(falls, certain=False)
    for read in reads:
        low = certain_rises.before(read.i) + possible_falls.before(read.ended)
        high = possible_rises.before(read.ended) + certain_falls.before(read.i)
        value = read.shown or 0
        if value < low and (exactly_once or not falls):
            found.note("too low", f"a read shows {value}; at least {low} was acknowledged before", read)
        elif value > high and (exactly_once or not rises):
            found.note("too high", f"a read shows {value}; at most {high} was ever asked for", read)


def _check_answers(increments: Sequence[Operation], found: Findings) -> None:
    certain, possible = _Sums(increments, certain=True), _Sums(increments, certain=False)
    given: dict[int, Operation] = {}
    for op in increments:
        stands = _stands(op)
        if stands is None:
            continue
        low, high = certain.before(op.i) + _amount(op), possible.before(op.ended)
        if not low <= stands <= high:
            kind = "too low" if stands < low else "too high"
            found.note(kind, f"an increment was told {stands}; between {low} and {high} is possible", op)
        twin = given.setdefault(stands, op)
        if twin is not op:
            found.note("told twice", f"two increments were told that the counter stands at {stands}", twin, op)


class _Sums:
    """Sums of the increments that were certain (acknowledged), or possible (asked for), before a moment."""

    def __init__(self, increments: Sequence[Operation], *, certain: bool) -> None:
        if certain:
            events = sorted((op.ended, _amount(op)) for op in increments if op.outcome == "ok")
        else:
            events = sorted((op.i, _amount(op)) for op in increments)
        self._moments = [moment for moment, _ in events]
        self._sums = [0, *accumulate(amount for _, amount in events)]

    def before(self, moment: int) -> int:
        return self._sums[bisect.bisect_left(self._moments, moment)]


def _check_final(increments: Sequence[Operation], reads: Iterable[Operation], found: Findings) -> None:
    certain = sum(_amount(op) for op in increments if op.outcome == "ok")
    open_amounts = [_amount(op) for op in increments if op.outcome == "info"]
    if sum(map(abs, open_amounts)) > _SUMS_MAX:
        return
    # Bit n is set if n, less the lowest possible sum, is the sum of some of them.
    lowest = sum(amount for amount in open_amounts if amount < 0)
    sums = 1
    for amount in open_amounts:
        sums |= sums << abs(amount)
    for read in reads:
        extra = (read.shown or 0) - certain - lowest
        if extra < 0 or not sums >> extra & 1:
            problem = (
                f"the final value is {read.shown or 0}; {certain} was acknowledged, unknown are {open_amounts[:10]}"
            )
            found.note("wrong sum", problem, read)


def _stands(op: Operation) -> int | None:
    """Where the counter stands by the answer, if that tells it."""
    stands = op.shown.get("stands") if op.outcome == "ok" and isinstance(op.shown, dict) else None
    return stands if isinstance(stands, int) else None


def _amount(op: Operation) -> int:
    return 1 if op.value is None else int(op.value)

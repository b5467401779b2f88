"""A list that only grows: `append` of one element, `read` of all in order. No element is appended twice by the clients.

Every read is a beginning of the longest one. So the longest one gives every append its place, and then:

- what is shown was appended, was not refused, and is there once;
- an append that ended before another one began stands before it; a read shows nothing that was not asked for yet;
- a linearizable read shows every append that ended before it began, and all that a read before it has shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import History, Operation, comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class Appends(Result):
    """Lists (keys), and how many appends and reads they had. `shown`: elements of the longest reads."""

    lists: int
    appends: int
    reads: int
    shown: int


def check(history: History) -> Appends:
    """Every list (key) of the history. Raises ValueError if clients appended one element twice."""
    found = Findings()
    lists = appended = reads = shown = 0
    for operations in history.by_key().values():
        appends = [op for op in operations if op.f == "append"]
        if appends:
            judged = [op for op in operations if op.f == "read" and op.outcome == "ok"]
            longest = max(judged, key=lambda op: len(op.shown or []), default=None)
            lists, appended, reads = lists + 1, appended + len(appends), reads + len(judged)
            if longest is not None:
                shown += len(longest.shown or [])
                _check_list(appends, judged, longest, found)
    return Appends(
        verdict=found.verdict(reads),
        broken=len(found),
        findings=first(found),
        lists=lists,
        appends=appended,
        reads=reads,
        shown=shown,
    )


def _check_list(appends: Sequence[Operation], reads: Sequence[Operation], longest: Operation, found: Findings) -> None:
    by_value: dict[Any, Operation] = {}
    for op in appends:
        if by_value.setdefault(comparable(op.value), op) is not op:
            raise ValueError(f"operations {by_value[comparable(op.value)].i} and {op.i} append the same element")
    order = [comparable(value) for value in longest.shown or []]
    for read in reads:
        values = [comparable(value) for value in read.shown or []]
        if values != order[: len(values)]:
            found.note("order", "two reads show elements in different order", read, longest)
    _check_elements(order, by_value, reads, longest, found)
    _check_time(order, by_value, found)
    _check_reads(order, appends, reads, found)


def _check_elements(
    order: Sequence[Any],
    by_value: dict[Any, Operation],
    reads: Sequence[Operation],
    longest: Operation,
    found: Findings,
) -> None:
    if len(set(order)) < len(order):
        twice = next(value for at, value in enumerate(order) if value in order[:at])
        found.note("duplicated", "an element is there twice", by_value.get(twice), longest)
    strange = {value for value in order if value not in by_value or by_value[value].outcome == "fail"}
    for value in strange:
        found.note("unexpected", "an element is shown that was refused or never appended", by_value.get(value), longest)
    for read in reads:
        for value in read.shown or []:
            append = by_value.get(comparable(value))
            if append is not None and append.i > read.ended:
                found.note("too early", f"a read shows {value!r} before it was asked for", read, append)


def _check_time(order: Sequence[Any], by_value: dict[Any, Operation], found: Findings) -> None:
    """No append may stand behind one that began after it had ended."""
    latest: Operation | None = None
    for value in order:
        op = by_value.get(value)
        if op is None:
            continue
        if latest is not None and op.ended < latest.i:
            found.note("order", "an append stands behind one that began after it had ended", op, latest)
        if latest is None or op.i > latest.i:
            latest = op


def _check_reads(
    order: Sequence[Any], appends: Sequence[Operation], reads: Sequence[Operation], found: Findings
) -> None:
    place = {value: at for at, value in reversed(list(enumerate(order)))}
    # How long the list was at least when each of these ended.
    acknowledged = [op for op in appends if op.outcome == "ok"]
    ended = [(op.ended, place.get(comparable(op.value), len(order)) + 1, op) for op in acknowledged]
    judged = [op for op in reads if op.linearizable]
    ended += [(op.ended, len(op.shown or []), op) for op in judged]
    ended.sort(key=lambda end: end[0])
    at, least, why = 0, 0, None
    for read in judged:
        while at < len(ended) and ended[at][0] < read.i:
            if ended[at][1] > least:
                _, least, why = ended[at]
            at += 1
        if len(read.shown or []) < least and why is not None:
            kind = "lost" if why.f == "append" else "stale"
            found.note(kind, f"a read shows {len(read.shown or [])} elements, {least} were there before it", why, read)

"""A set: every element that was added stays. `add` of one element, `read` of all of them; like Jepsen's set-full.

An element is known from the end of its add, or of the first read that shows it, whichever is earlier.

    stable     shown by the last reads
    lost       known, and absent from a read that began after the last one to show it
    stale      stable, but a read that began when it was known missed it
    never read no read could tell
    recovered  shown, though nobody knew whether its add took effect
    unexpected shown, though its add was refused or never made
    duplicated shown twice by one read

Only final reads and linearizable ones tell that something is not there: a read at ONE may be behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import FINAL, NEVER, History, Operation, comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFull(Result):
    """Elements by what became of them."""

    attempted: int
    acknowledged: int
    stable: int
    lost: int
    stale: int
    never_read: int
    recovered: int
    unexpected: int
    duplicated: int


@dataclass(slots=True)
class _Element:
    add: Operation | None
    known: int = NEVER
    shown: Operation | None = None  # the read that began last of those that show it
    missed: Operation | None = None  # and of those that do not
    hidden: Operation | None = None  # a linearizable read that began when it was known, and does not show it


def check(history: History) -> SetFull:
    """Every set (key) of the history."""
    found = Findings()
    elements: list[_Element] = []
    duplicated = 0
    for operations in history.by_key().values():
        if any(op.f == "add" for op in operations):
            in_set, twice = _follow(operations, found)
            elements += in_set
            duplicated += twice
    stable = never_read = recovered = 0
    for element in elements:
        add, shown, missed = element.add, element.shown, element.missed
        if add is None or add.outcome == "fail":
            if shown is not None:
                found.note("unexpected", "an element is shown that was refused or never added", add, shown)
        elif shown is not None and (missed is None or missed.i < shown.i):
            stable += 1
            recovered += add.outcome == "info"
            if element.hidden is not None:
                found.note("stale", f"{add.value!r} was known when a read began that misses it", add, element.hidden)
        elif missed is not None and element.known < missed.i:
            found.note("lost", f"{add.value!r} was known, and is gone", add, shown, missed)
        else:
            never_read += 1
    adds = [element.add for element in elements if element.add is not None]
    return SetFull(
        verdict=found.verdict(stable),
        broken=len(found),
        findings=first(found),
        attempted=len(adds),
        acknowledged=sum(add.outcome == "ok" for add in adds),
        stable=stable,
        lost=found.of("lost"),
        stale=found.of("stale"),
        never_read=never_read,
        recovered=recovered,
        unexpected=found.of("unexpected"),
        duplicated=duplicated,
    )


def _follow(operations: Sequence[Operation], found: Findings) -> tuple[list[_Element], int]:
    elements: dict[Any, _Element] = {}
    for op in operations:
        if op.f == "add":
            known = op.ended if op.outcome == "ok" else NEVER
            before = elements.setdefault(comparable(op.value), _Element(op, known))
            if before.add is not None and before.add.outcome == "fail":
                before.add = op
            before.known = min(before.known, known)
    reads = [op for op in operations if op.f == "read" and op.outcome == "ok"]
    duplicated = 0
    for read in sorted(reads, key=lambda op: op.ended):
        for value in read.shown or []:
            element = elements.setdefault(comparable(value), _Element(None))
            element.known = min(element.known, read.ended)
    for read in reads:
        seen = {comparable(value) for value in read.shown or []}
        if len(seen) < len(read.shown or []):
            duplicated += 1
            found.note("duplicated", "a read shows an element twice", read)
        for value, element in elements.items():
            if value in seen:
                element.shown = read
            elif read.linearizable or read.client == FINAL:
                element.missed = read
                if element.known < read.i and read.linearizable:
                    element.hidden = read
    return list(elements.values()), duplicated

"""Watches: every change once, in order, and by all watchers the same.

A `change` has a number `n` of its own and the keys that it puts (each with the value n) and deletes. What a watcher was
told stands in its operations `watched`, one after the other: a list of [revision, key, n], n null for a delete. A
watcher that had to begin anew behind a compaction says so with `compacted` and [first, last] revision of its gap.

Revisions rise, and so do the keys of one revision. Every acknowledged change is told by each watcher at its revision,
and nothing that was refused; a change of unknown outcome is told whole, and once, or not at all. What one watcher tells
of a revision all of them tell. Each has followed up to the last acknowledged change. The final reads at QUORUM show
what was told last of each key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import History, Operation

_NOT_TOLD: Final = object()

Told = tuple[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watches(Result):
    """`changes` were acknowledged; `events` were told, by all watchers together; `gaps` were told to be such."""

    changes: int
    watchers: int
    events: int
    gaps: int


@dataclass(slots=True)
class _Watcher:
    told: dict[int, list[Told]] = field(default_factory=dict)
    by: dict[int, Operation] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    last: tuple[int, str] = (0, "")
    operation: Operation | None = None

    def missed(self, revision: int) -> bool:
        """Whether it is excused from that revision."""
        return any(begin <= revision <= end for begin, end in self.gaps)


def check(history: History) -> Watches:
    """All watchers of the history follow all of its changes."""
    found = Findings()
    changes = [op for op in history.operations if op.f == "change"]
    watchers = _watchers(history.operations, found)
    acknowledged = {op.revision: op for op in changes if op.outcome == "ok" and op.revision is not None}
    for name, watcher in watchers.items():
        _check_acknowledged(name, watcher, acknowledged, found)
        _check_told(name, watcher, {op.value["n"]: op for op in changes}, found)
    _check_the_same(watchers, found)
    _check_final(watchers, history.final_reads(), found)
    return Watches(
        verdict=found.verdict(len(acknowledged) if watchers else 0),
        broken=len(found),
        findings=first(found),
        changes=len(acknowledged),
        watchers=len(watchers),
        events=sum(len(events) for watcher in watchers.values() for events in watcher.told.values()),
        gaps=sum(len(watcher.gaps) for watcher in watchers.values()),
    )


def _watchers(operations: Iterable[Operation], found: Findings) -> dict[str, _Watcher]:
    watchers: dict[str, _Watcher] = {}
    for op in operations:
        if op.f not in ("watched", "compacted"):
            continue
        watcher = watchers.setdefault(str(op.client), _Watcher())
        watcher.operation = op
        if op.outcome != "ok":
            found.note("ended", f"the watcher {op.client} ended: {op.error}", op)
        elif op.f == "compacted":
            watcher.gaps.append((op.shown[0], op.shown[1]))
        else:
            _follow(watcher, op, found)
    return watchers


def _follow(watcher: _Watcher, op: Operation, found: Findings) -> None:
    for revision, key, n in op.shown:
        if (revision, key) <= watcher.last:
            problem = f"{op.client} was told {key} at {revision} after {watcher.last[1]} at {watcher.last[0]}"
            found.note("order", problem, op)
        watcher.last = max(watcher.last, (revision, key))
        watcher.told.setdefault(revision, []).append((key, n))
        watcher.by.setdefault(revision, op)


def _check_acknowledged(name: str, watcher: _Watcher, acknowledged: dict[int, Operation], found: Findings) -> None:
    for revision, change in acknowledged.items():
        if revision not in watcher.told and not watcher.missed(revision):
            found.note("not told", f"{name} was not told of revision {revision}", change, watcher.operation)


def _check_told(name: str, watcher: _Watcher, changes: dict[int, Operation], found: Findings) -> None:
    told_at: dict[int, int] = {}
    for revision, events in watcher.told.items():
        numbers = {n for _, n in events if n is not None}
        for n in numbers:
            if told_at.setdefault(n, revision) != revision:
                found.note("twice", f"{name}: change {n} was told at {told_at[n]} and {revision}", watcher.by[revision])
        if len(numbers) == 1:
            change = changes.get(next(iter(numbers)))
            problem = _wrong(change, revision, events)
            if problem:
                found.note("wrong", f"{name}, revision {revision}: {problem}", change, watcher.by[revision])
        elif numbers:
            found.note("mixed", f"{name}: revision {revision} has changes {sorted(numbers)}", watcher.by[revision])


def _wrong(change: Operation | None, revision: int, events: Sequence[Told]) -> str:
    """What is wrong with the events of a revision that this change should have made."""
    if change is None or change.outcome == "fail":
        return "a change that was refused, or never asked for"
    if change.outcome == "ok" and change.revision != revision:
        return f"the change was acknowledged at {change.revision}"
    put = {key for key, n in events if n is not None}
    deleted = {key for key, n in events if n is None}
    if put != set(change.value["put"]):
        return f"it put {sorted(change.value['put'])}, told were {sorted(put)}"
    if not deleted <= set(change.value["delete"]):
        return f"it deleted {sorted(change.value['delete'])}, told were {sorted(deleted)}"
    return ""


def _check_the_same(watchers: dict[str, _Watcher], found: Findings) -> None:
    for revision in sorted({revision for watcher in watchers.values() for revision in watcher.told}):
        there = {name: each for name, each in watchers.items() if not each.missed(revision)}
        told = {name: each.told.get(revision) for name, each in there.items()}
        one = next((name for name, events in told.items() if events), None)
        for name, events in told.items():
            if one is not None and events != told[one]:
                problem = f"of revision {revision} {one} was told {told[one]}, and {name} {events}"
                found.note("differ", problem, there[one].by.get(revision), there[name].operation)


def _check_final(watchers: dict[str, _Watcher], reads: Sequence[Operation], found: Findings) -> None:
    for name, watcher in watchers.items():
        if watcher.gaps:
            continue
        last: dict[str, int | None] = {}
        for revision in sorted(watcher.told):
            last.update(watcher.told[revision])
        for read in reads:
            told = last.get(str(read.key), _NOT_TOLD)
            if read.level != "quorum" or (told is _NOT_TOLD and read.shown is None):
                continue
            if told is _NOT_TOLD or told != read.shown:
                shown: Any = None if told is _NOT_TOLD else told
                problem = f"{read.key} is {read.shown} in the end; {name} was told {shown} last"
                found.note("end", problem, read, watcher.operation)

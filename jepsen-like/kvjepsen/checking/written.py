"""Reads at ONE show what was asked for: whatever is shown was to be written by somebody who had asked before the read
ended, and was not refused. That much holds at every level, also where no order and no age is promised.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import History, Operation, comparable

PROMISE: Final = "a read at ONE shows what somebody has asked for, and nothing that was refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Result):
    """`reads` at ONE, and how many of them showed a value."""

    reads: int
    values: int


def check(history: History) -> Written:
    """Every read at ONE, by its key and value."""
    asked: dict[tuple[str | None, Any], list[Operation]] = defaultdict(list)
    for op in history.operations:
        if op.f in ("write", "cas"):
            asked[op.key, comparable(op.value[1] if op.f == "cas" else op.value)].append(op)
    found = Findings()
    reads = values = 0
    for read in history.operations:
        if read.f != "read" or read.level != "one" or read.outcome != "ok":
            continue
        reads += 1
        if read.shown is None:
            continue
        values += 1
        before = [op for op in asked[read.key, comparable(read.shown)] if op.i < read.ended]
        if not before:
            found.note("never asked for", f"a read at ONE shows {read.shown!r}, which nobody had asked for", read)
        elif all(op.outcome == "fail" for op in before):
            problem = f"a read at ONE shows {read.shown!r}, a write that was refused ({before[0].error})"
            found.note("refused", problem, before[0], read)
    return Written(verdict=found.verdict(reads), broken=len(found), findings=first(found), reads=reads, values=values)

"""Session guarantees (Terry et al., 1994), of each client, at the levels that promise them. Needs revisions.

    monotonic reads      a read shows what the session's reads before it have implied
    read your writes     a read shows what the session's writes before it have implied
    monotonic writes     the revisions of a session's writes rise
    writes follow reads  a write has a revision above all that the session has read
    minimal revision     a read at ONE that asked for `min_revision` shows what it implies

Reads at QUORUM and ALL promise the first two. A read at ONE promises what it asked for, and nothing otherwise. A
revision implies every one below it, of all keys.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kvjepsen.checking.placed import MUTATIONS, Placed
from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import History, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions(Result):
    """How many sessions, reads and writes were judged."""

    sessions: int
    reads: int
    writes: int


class _Floor(NamedTuple):
    """The highest revision that a session knows, and the operation that told it."""

    revision: int = 0
    op: Operation | None = None

    def raised(self, op: Operation) -> "_Floor":
        return _Floor(op.revision, op) if op.revision is not None and op.revision > self.revision else self


def check(history: History) -> Sessions:
    """Every session by itself."""
    by_session: dict[int | str, list[Operation]] = {}
    for op in history.operations:
        by_session.setdefault(op.session, []).append(op)
    placed = Placed(history.operations)
    found = Findings()
    reads = writes = 0
    for operations in by_session.values():
        judged = _check_session(operations, placed, found)
        reads, writes = reads + judged[0], writes + judged[1]
    return Sessions(
        verdict=found.verdict(reads + writes),
        broken=len(found),
        findings=first(found),
        sessions=len(by_session),
        reads=reads,
        writes=writes,
    )


def _check_session(operations: Sequence[Operation], placed: Placed, found: Findings) -> tuple[int, int]:
    read = written = _Floor()
    under_way: list[tuple[int, int, Operation]] = []
    reads = writes = 0
    for op in operations:
        while under_way and under_way[0][0] < op.i:
            ended = heapq.heappop(under_way)[2]
            if ended.f == "read":
                read = read.raised(ended)
            elif ended.f in MUTATIONS:
                written = written.raised(ended)
        if op.outcome != "ok":
            continue
        heapq.heappush(under_way, (op.ended, op.i, op))
        if op.f == "read":
            reads += _check_read(op, read, written, placed, found)
        elif op.f in MUTATIONS and op.revision is not None and op.level != "one":
            writes += 1
            for kind, floor in (("monotonic writes", written), ("writes follow reads", read)):
                if op.revision <= floor.revision:
                    problem = f"{kind}: a write got revision {op.revision}, the session knew {floor.revision}"
                    found.note(kind, problem, floor.op, op)
    return reads, writes


def _check_read(op: Operation, read: _Floor, written: _Floor, placed: Placed, found: Findings) -> bool:
    if not op.linearizable:
        floors = [("minimal revision", _Floor(op.asked_revision or 0, None))]
    else:
        floors = [("monotonic reads", read), ("read your writes", written)]
    for kind, floor in floors:
        hidden = placed.hidden_by(op, floor.revision)
        if hidden is not None:
            problem = f"{kind}: a read hides revision {hidden.revision}, the session knew {floor.revision}"
            found.note(kind, problem, floor.op, hidden, op)
    return op.linearizable or op.asked_revision is not None

"""R + W > N: what one level has written, the opposite level shows. Needs revisions.

- Written at ALL, read at ONE: a read of any node that begins after the write was acknowledged shows it or a newer one.
- Written at ONE, read at ALL: a read that begins after the node had accepted the write shows it or a newer one, if its
  receipt says that it took effect. What was superseded (`fail`) need not show.

QUORUM with QUORUM is linearizability, which is checked elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kvjepsen.checking.placed import MUTATIONS, Placed
from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import NEVER, History, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels(Result):
    """How many reads were judged: at ONE after a write at ALL, and at ALL after a write at ONE."""

    one_after_all: int
    all_after_one: int


def check(history: History) -> Levels:
    """Every read at ONE and at ALL."""
    found = Findings()
    placed = Placed(history.operations)
    one_after_all = all_after_one = 0
    for operations in history.by_key().values():
        one_after_all += _check_pair(operations, "all", "one", placed, found)
        all_after_one += _check_pair(operations, "one", "all", placed, found)
    return Levels(
        verdict=found.verdict(one_after_all + all_after_one),
        broken=len(found),
        findings=first(found),
        one_after_all=one_after_all,
        all_after_one=all_after_one,
    )


def _check_pair(operations: Sequence[Operation], wrote: str, reads: str, placed: Placed, found: Findings) -> int:
    # A write at ALL is answered when it is in effect; one at ONE when it is accepted.
    answered = sorted(
        (op for op in operations if op.level == wrote and op.f in MUTATIONS and _in_effect(op)),
        key=lambda op: op.answered,
    )
    at, judged = 0, 0
    newest: Operation | None = None
    for read in operations:
        while at < len(answered) and answered[at].answered < read.i:
            if newest is None or (answered[at].revision or 0) > (newest.revision or 0):
                newest = answered[at]
            at += 1
        if newest is None or read.f != "read" or read.level != reads or read.outcome != "ok":
            continue
        judged += 1
        hidden = placed.hidden_by(read, newest.revision or 0)
        if hidden is not None:
            problem = f"a read at {reads.upper()} hides revision {newest.revision}, written at {wrote.upper()} before"
            found.note(f"{wrote} then {reads}", problem, newest, read)
    return judged


def _in_effect(op: Operation) -> bool:
    return op.revision is not None and op.answered != NEVER and op.outcome != "fail" and op.error is None

"""How old the answers of reads at level ONE are. A report, and a check where a read asked for `max_staleness_ms`.

The age of an answer, as far as the history proves it: the time from the moment at which something newer of that key
was acknowledged to the moment at which the read began. 0 if nothing newer was. Needs revisions and times.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from kvjepsen.checking.placed import MUTATIONS, removes
from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import NEVER, History, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness(Result):
    """`reads` at ONE whose age is known, how many were `stale`, and ages in ms. `bounded`: those that asked for one."""

    reads: int
    stale: int
    bounded: int
    median_ms: float
    p99_ms: float
    worst_ms: float


def check(history: History) -> Staleness:
    """Every read at ONE. UNKNOWN if none asked for a bound: then this is a report only."""
    found = Findings()
    ages: list[float] = []
    bounded = 0
    for operations in history.by_key().values():
        newer = _Newer([op for op in operations if op.f in MUTATIONS and op.outcome != "fail"])
        for read in operations:
            if read.f != "read" or read.level != "one" or read.outcome != "ok" or read.t_ns is None:
                continue
            if read.shown is not None and read.revision is None:
                continue  # a write of this node that is not in effect yet
            age_ms, write = newer.age_ms(read)
            ages.append(age_ms)
            if read.max_staleness_ms is not None:
                bounded += 1
                if age_ms > read.max_staleness_ms:
                    problem = f"a read is at least {age_ms:.1f} ms old; it asked for {read.max_staleness_ms} ms at most"
                    found.note("too stale", problem, write, read)
    ages.sort()
    return Staleness(
        verdict=found.verdict(bounded),
        broken=len(found),
        findings=first(found),
        reads=len(ages),
        stale=sum(age > 0 for age in ages),
        bounded=bounded,
        median_ms=_quantile(ages, 0.5),
        p99_ms=_quantile(ages, 0.99),
        worst_ms=ages[-1] if ages else 0.0,
    )


class _Newer:
    """The acknowledged mutations of a key by revision, each with the soonest end of those from there on."""

    def __init__(self, mutations: Sequence[Operation]) -> None:
        placed = sorted((op for op in mutations if _placed(op)), key=lambda op: op.revision or 0)
        self._revisions = [op.revision or 0 for op in placed]
        self._soonest: list[Operation] = []
        for op in reversed(placed):
            last = self._soonest[-1] if self._soonest else op
            self._soonest.append(op if op.ended <= last.ended else last)
        self._soonest.reverse()
        self._removals = [op for op in mutations if removes(op)]

    def age_ms(self, read: Operation) -> tuple[float, Operation | None]:
        """The age of what the read shows, and the write that proves it."""
        shown = read.revision or 0 if read.shown is not None else self._absent_since(read)
        at = bisect.bisect_right(self._revisions, shown)
        if at == len(self._revisions):
            return 0.0, None
        write = self._soonest[at]
        if write.ended > read.i or write.ended_ns is None or read.t_ns is None:
            return 0.0, None
        return (read.t_ns - write.ended_ns) / 1e6, write

    def _absent_since(self, read: Operation) -> int:
        """The newest removal that may have been what an empty answer shows; 0: from before the first write."""
        began = [op for op in self._removals if op.i < read.ended]
        return max((NEVER if op.revision is None else op.revision for op in began), default=0)


def _placed(op: Operation) -> bool:
    return op.outcome == "ok" and op.revision is not None and op.ended_ns is not None


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

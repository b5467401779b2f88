"""Leases: a key is there as long as its lease is kept alive in time, and gone in the end.

Each key has one lease. `attach` puts the key under it, and `keep` keeps it alive. The value of both is the moment up to
which the lease lasts then at least, in the nanoseconds of the history's clock: its time to live after the moment when
the grant, or the keepalive, was asked for. The store's own count begins later. So of each that was acknowledged

    a read at QUORUM that began after its answer, and ended before its time was over, shows the key;
    a keepalive likewise is not told that the lease is gone.

Nothing else promises that a key is gone but time: the final reads find none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import FINAL, GONE, History, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases(Result):
    """`judged`: reads and keepalives that fell into a time that was promised; `expired`: keys seen gone."""

    keys: int
    keepalives: int
    judged: int
    expired: int


def check(history: History) -> Leases:
    """Every leased key of the history."""
    found = Findings()
    keys = keepalives = judged = expired = 0
    for operations in history.by_key().values():
        if not any(op.f == "attach" and op.outcome == "ok" for op in operations):
            continue
        keys += 1
        renewals = [op for op in operations if op.f in ("attach", "keep") and op.outcome == "ok"]
        looks = [op for op in operations if _tells(op)]
        keepalives += sum(op.f == "keep" for op in renewals)
        for look in looks:
            promised = _promise(renewals, look)
            judged += promised is not None
            if promised is not None and _gone(look):
                found.note("too early", "a key is gone while its lease was kept alive in time", promised, look)
        expired += any(_gone(look) for look in looks)
        for read in operations:
            if read.f == "read" and read.client == FINAL and read.outcome == "ok" and read.shown is not None:
                found.note("stayed", f"a key is there at {read.level}, long after its lease was given up", read)
    return Leases(
        verdict=found.verdict(judged),
        broken=len(found),
        findings=first(found),
        keys=keys,
        keepalives=keepalives,
        judged=judged,
        expired=expired,
    )


def _tells(op: Operation) -> bool:
    """Whether it says that the key, or the lease, is there or gone."""
    if op.f == "read":
        return op.outcome == "ok" and op.linearizable
    return op.f == "keep" and (op.outcome == "ok" or op.error == GONE)


def _gone(look: Operation) -> bool:
    return look.outcome == "fail" or (look.f == "read" and look.shown is None)


def _promise(renewals: Sequence[Operation], look: Operation) -> Operation | None:
    """The renewal that was answered before `look` began, and whose time lasts until after it ended."""
    assert look.ended_ns is not None
    for renewal in renewals:
        if renewal.ended < look.i and look.ended_ns < renewal.value:
            return renewal
    return None

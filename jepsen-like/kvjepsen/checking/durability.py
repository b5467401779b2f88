"""Durability: what was acknowledged is there in the final reads. The ledger of the crash loop judges (`ledger.py`).

The ledger knows one writer for each key; here many write at once, and revisions say in which order. So it is filled
when the history is complete, in that order.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from kvjepsen.checking.placed import MUTATIONS
from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.ledger import Ledger
from kvjepsen.records import History, Operation
from kvstore.model.results import Record
from kvstore.model.stamp import ZERO_STAMP


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability(Result):
    """Writes by what became of them; `judged` final reads, and `unjudged` ones: no revision, so no order, is known."""

    acknowledged: int
    refused: int
    unknown: int
    judged: int
    unjudged: int


def check(history: History) -> Durability:
    """Hold the final reads against every write of the history."""
    ledger, newest, unordered = _fill(history)
    found = Findings()
    for broken in ledger.findings:
        found.note(broken.kind, broken.detail, newest.get(_text(broken.key)))
    judged = unjudged = 0
    for read in history.final_reads():
        if read.key in unordered or (read.shown is not None and read.revision is None):
            unjudged += 1
            continue
        judged += 1
        finding = ledger.judge(_bytes(read.key), _record(read), f"{read.node or 'a node'} at {read.level or 'quorum'}")
        if finding is not None:
            found.note(finding.kind, f"{finding.where}: {finding.detail}", newest.get(read.key), read)
    return Durability(
        verdict=found.verdict(judged),
        broken=len(found),
        findings=first(found),
        acknowledged=ledger.acknowledged,
        refused=ledger.refused,
        unknown=ledger.unknown,
        judged=judged,
        unjudged=unjudged,
    )


def _fill(history: History) -> tuple[Ledger, dict[str | None, Operation], set[str | None]]:
    """The ledger, the newest acknowledged write of each key, and the keys of which not every one has a revision."""
    ledger = Ledger()
    newest: dict[str | None, Operation] = {}
    unordered: set[str | None] = set()
    writes = [op for op in history.operations if op.f in MUTATIONS]
    for op in sorted(writes, key=lambda op: (op.revision or 0, op.i)):
        attempt = ledger.attempt(_bytes(op.key), _value(op))
        if op.outcome == "fail":
            ledger.refuse(attempt)
        elif op.revision is not None:
            ledger.acknowledge(attempt, op.revision, op.level or "quorum")
            newest[op.key] = op
        elif op.outcome == "ok":
            unordered.add(op.key)
    return ledger, newest, unordered


def _value(op: Operation) -> bytes | None:
    value = op.value[1] if op.f == "cas" else op.value if op.f == "write" else None
    return None if value is None else _encoded(value)


def _record(read: Operation) -> Record | None:
    if read.shown is None or read.revision is None:
        return None
    return Record(_encoded(read.shown), 0, read.revision, read.version or 0, 0, ZERO_STAMP)


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _bytes(key: str | None) -> bytes:
    return (key or "").encode("utf-8", "surrogateescape")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")

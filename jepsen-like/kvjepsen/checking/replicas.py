"""Convergence: in the end all nodes show the same. From final reads at level ONE, which one node answers by itself."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from kvjepsen.checking.verdict import Findings, Result, Verdict, first
from kvjepsen.records import History, Operation, comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas(Result):
    """`missing`: keys that were not read on every node; with one of them nothing is VALID."""

    keys: int
    nodes: int
    missing: int


def check(history: History) -> Replicas:
    """Compare value, revision and version of each key over all nodes; the last final read of each counts."""
    shown: dict[str | None, dict[str, Operation]] = {}
    for read in history.final_reads():
        if read.level == "one" and read.node is not None:
            shown.setdefault(read.key, {})[read.node] = read
    nodes = {node for by_node in shown.values() for node in by_node}
    found = Findings()
    for key, by_node in shown.items():
        states = Counter(_state(read) for read in by_node.values())
        if len(states) > 1:
            usual = states.most_common(1)[0][0]
            one = next(read for read in by_node.values() if _state(read) == usual)
            others = [read for read in by_node.values() if _state(read) != usual]
            told = ", ".join(f"{read.node} {read.shown!r} at {read.revision}" for read in [one, *others])
            found.note("divergence", f"key {key!r}: {told}", one, *others)
    missing = sum(len(by_node) < len(nodes) for by_node in shown.values())
    verdict = Verdict.UNKNOWN if not found and (missing or len(nodes) < 2) else found.verdict(len(shown))
    return Replicas(
        verdict=verdict,
        broken=len(found),
        findings=first(found),
        keys=len(shown),
        nodes=len(nodes),
        missing=missing,
    )


def _state(read: Operation) -> tuple[Any, ...]:
    present = read.shown is not None
    return comparable(read.shown), read.revision if present else None, read.version if present else None

"""What a run has shown: every check of its workloads and of the whole, whether enough was done, and the verdict.

failed    a promise was broken, or the cluster did not come back
unknown   a key could not be judged within the bounds
vacuous   nothing was broken, but too little was done, or a fault had no effect: it shows nothing
passed    everything else
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from kvjepsen.checking import agreement, durability, replicas, sessions
from kvjepsen.checking.verdict import Verdict
from kvjepsen.nemesis.driver import Injury
from kvjepsen.records import FINAL, History, Operation
from kvjepsen.workloads import WORKLOADS
from kvjepsen.workloads.linear import Linear
from kvjepsen.workloads.workload import Check, Workload, check_of

RunVerdict = Literal["passed", "failed", "vacuous", "unknown"]

OK_PER_PHASE_MIN: Final = 20

_NOT_COUNTS: Final = frozenset({"verdict", "broken", "findings"})


class Phase(NamedTuple):
    """A part of the run, by `time.monotonic_ns`."""

    name: Literal["before", "faults", "after", "final"]
    from_ns: int
    to_ns: int


def checks(history: History, workloads: Sequence[type[Workload]]) -> list[tuple[str | None, Check]]:
    """What each workload promises, and what holds for all of them together (None)."""
    found: list[tuple[str | None, Check]] = []
    for workload in workloads:
        found += [(workload.name, check) for check in workload.checks(_of(history, workload.name))]
    names = tuple(f"{workload.name}/" for workload in workloads if workload.plain)
    plain = history.select(lambda op: (op.key or "").startswith(names))
    whole = (
        ("durability", "what was acknowledged is there in the end", durability.check(plain)),
        ("replicas", "in the end all nodes show the same", replicas.check(history)),
        (
            "sessions",
            "a client sees what it has written, and never something older than before",
            sessions.check(plain),
        ),
    )
    found += [(None, check_of(name, promise, result, history)) for name, promise, result in whole]
    promise = "one leader a term, and equal digests at an equal index"
    found.append((None, Check("agreement", promise, agreement.check(history.observations), {})))
    return found


def _of(history: History, name: str) -> History:
    return history.select(lambda op: (op.key or "").startswith(f"{name}/"))


def verdict(found: Sequence[tuple[str | None, Check]], doubts: Sequence[str], problem: str | None) -> RunVerdict:
    """The run's, from everything that is known."""
    if problem is not None or any(check.result.verdict is Verdict.INVALID for _, check in found):
        return "failed"
    if any(isinstance(check.result, Linear) and check.result.undecided for _, check in found):
        return "unknown"
    return "vacuous" if doubts else "passed"


def too_little(
    history: History, phases: Sequence[Phase], injuries: Sequence[Injury], *, faults_wanted: bool, last_write: bool
) -> list[str]:
    """Why the run shows nothing, one reason a line; empty if it does."""
    doubts = []
    for phase, count in ok_by_phase(history, phases).items():
        if count < OK_PER_PHASE_MIN:
            doubts.append(f"only {count} operations succeeded in the phase '{phase}'; {OK_PER_PHASE_MIN} are the least")
    if faults_wanted and not injuries:
        doubts.append("no fault was injected")
    doubts += [
        f"{injury.fault} of {injury.detail} had no effect that was seen" for injury in injuries if not injury.effects
    ]
    if not last_write:
        doubts.append("no write succeeded after everything was healed")
    return doubts


def ok_by_phase(history: History, phases: Sequence[Phase]) -> dict[str, int]:
    """Operations that succeeded, by the phase in which they ended."""
    counts: dict[str, int] = {phase.name: 0 for phase in phases if phase.name != "final"}
    for op in _clients(history):
        if op.outcome == "ok" and op.answered_ns is not None:
            for phase in phases:
                if phase.name in counts and phase.from_ns <= op.answered_ns < phase.to_ns:
                    counts[phase.name] += 1
    return counts


def operations(history: History) -> dict[str, Any]:
    """How many, by outcome and workload."""
    by_workload = {name: Counter({"ok": 0, "fail": 0, "info": 0}) for name in WORKLOADS}
    for op in _clients(history):
        name = (op.key or "").partition("/")[0]
        if name in by_workload:
            by_workload[name][op.outcome] += 1
    used = {name: dict(counts) for name, counts in by_workload.items() if counts.total()}
    total = Counter[str]()
    for counts in used.values():
        total.update(counts)
    return {**{outcome: total[outcome] for outcome in ("ok", "fail", "info")}, "by_workload": used}


def check_json(workload: str | None, check: Check) -> dict[str, Any]:
    """A check as it stands in results.json."""
    result = check.result
    numbers = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {
        "workload": workload,
        "check": check.name,
        "promise": check.promise,
        "verdict": str(result.verdict),
        "counts": {name: number for name, number in numbers.items() if name not in _NOT_COUNTS},
        "broken": result.broken,
        "findings": [
            {
                "kind": finding.kind,
                "problem": finding.problem,
                "key": _key(check, finding.ops),
                "ops": list(finding.ops),
            }
            for finding in result.findings
        ],
    }


def _key(check: Check, ops: Sequence[int]) -> str | None:
    return next((check.keys[i] for i in ops if check.keys.get(i) is not None), None)


def _clients(history: History) -> Iterable[Operation]:
    return (op for op in history.operations if op.client != FINAL)

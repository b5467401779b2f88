"""Linearizability as a check of a run: the result of `kvjepsen.checker` in the form of all others."""

from dataclasses import dataclass

from kvjepsen import checker
from kvjepsen.checking.models import MODELS, calls_of
from kvjepsen.checking.verdict import Finding, Result, Verdict
from kvjepsen.records import FINAL, History
from kvjepsen.workloads.workload import Check, check_of

PROMISE = "reads and writes at QUORUM and ALL took effect one after the other, each between its request and its answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Result):
    """`undecided`: keys that could not be judged within the bounds. UNKNOWN without any: there was nothing to judge."""

    keys: int
    ops: int
    undecided: int


def linearizable(history: History) -> Check:
    """Every key. Final reads at ONE speak for their node, and are compared elsewhere."""
    judged = history.select(lambda op: op.client != FINAL or op.level != "one")
    found = checker.check(judged)
    findings: tuple[Finding, ...] = ()
    if found.witness is not None:
        problem = f"no order explains what was answered for key {found.witness.key}"
        findings = (Finding("not linearizable", problem, found.witness.ops),)
    result = Linear(
        verdict=found.verdict if found.verdict is not Verdict.VALID or _says_something(judged) else Verdict.UNKNOWN,
        broken=len(found.failed),
        findings=findings,
        keys=found.keys,
        ops=found.ops,
        undecided=len(found.undecided),
    )
    return check_of("linearizable", PROMISE, result, judged)


def _says_something(history: History) -> bool:
    """Whether any answer has to be explained: what was refused, or never answered, any order explains."""
    return any(call.required for operations in history.by_key().values() for call in calls_of(operations, MODELS["kv"]))

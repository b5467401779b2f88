"""What every checker answers: a verdict, the operations that prove it, and one sentence for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kvjepsen.records import Operation


class Verdict(StrEnum):
    """UNKNOWN is neither good nor bad: there was nothing to judge, or judging it went beyond a bound."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """One broken promise: its kind, one sentence, and the operations (their `i`) that show it."""

    kind: str
    problem: str
    ops: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The base of all results. `findings` has at most FINDINGS_MAX of what was found, `broken` counts all."""

    verdict: Verdict
    broken: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def witness(self) -> tuple[int, ...]:
        """The operations (their `i`) of the first finding; empty if there is none."""
        return self.findings[0].ops if self.findings else ()


FINDINGS_MAX = 20


class Findings(list[Finding]):
    """Collects what is broken."""

    def note(self, kind: str, problem: str, *ops: Operation | int | None) -> None:
        """`ops` that are None are left out."""
        numbers = sorted({op if isinstance(op, int) else op.i for op in ops if op is not None})
        self.append(Finding(kind, problem, tuple(numbers)))

    def of(self, kind: str) -> int:
        """How many there are of one kind."""
        return sum(finding.kind == kind for finding in self)

    def verdict(self, judged: int) -> Verdict:
        """INVALID if there is a finding, UNKNOWN if nothing was judged."""
        return Verdict.INVALID if self else Verdict.VALID if judged else Verdict.UNKNOWN


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """INVALID before UNKNOWN before VALID; UNKNOWN for none at all."""
    found = set(verdicts)
    if Verdict.INVALID in found:
        return Verdict.INVALID
    return Verdict.VALID if found == {Verdict.VALID} else Verdict.UNKNOWN


def first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """As many as a result keeps."""
    return tuple(findings[:FINDINGS_MAX])

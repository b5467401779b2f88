"""What a check found, and what all of them say together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from kvcli.exit_codes import Exit
from kvcli.scraping import Told
from kvstore.model.results import ClusterView
from kvstore.state.settings import default_settings

# The first of these that a finding asks for is the exit code of the whole.
_WORST_FIRST: Final = (Exit.CANNOT_CONNECT, Exit.INTERNAL, Exit.REFUSED, Exit.ABSENT)


class Finding(NamedTuple):
    """Something to look at. `exit_code` 0 marks advice: nothing is wrong now. `todo`: what to do about it."""

    code: str
    detail: str
    todo: str = ""
    exit_code: Exit = Exit.ABSENT


class Outcome(NamedTuple):
    """What one check has seen. `seen` None: it could see nothing, for the reason that `skipped` gives."""

    seen: str | None
    findings: Sequence[Finding] = ()
    skipped: str = ""


class Result(NamedTuple):
    """A check, and what came out: ok, warn (advice), fail (a problem), skipped."""

    name: str
    verdict: str
    seen: str
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was told, by each endpoint; the replicated settings and the feature level, if somebody told them; the time
    of day here; what to do about endpoints where nobody answers.
    """

    told: Sequence[Told]
    settings: dict[str, int] = field(default_factory=dict)
    feature_level: int | None = None
    now_s: float = 0.0
    todos: Mapping[str, str] = field(default_factory=dict)

    @property
    def views(self) -> dict[str, ClusterView]:
        """The views, by endpoint."""
        return {each.endpoint: each.view for each in self.told if isinstance(each.view, ClusterView)}

    def setting(self, name: str) -> int:
        """A replicated setting as it was told, or what it is unless somebody has changed it."""
        return self.settings[name] if name in self.settings else default_settings()[name]

    def nodes(self, *metrics: str) -> dict[str, Told]:
        """The nodes that told all of these metrics, by name."""
        return {
            each.name: each
            for each in self.told
            if each.name is not None
            and not isinstance(each.metrics, Exception)
            and all(name in each.metrics for name in metrics)
        }

    def values(self, metric: str) -> dict[str, float]:
        """One number of each node that told it, by name."""
        found: dict[str, float] = {}
        for name, told in self.nodes(metric).items():
            value = None if isinstance(told.metrics, Exception) else told.metrics.get(metric)
            if value is not None:
                found[name] = value
        return found


Check = Callable[[Evidence], Outcome]


@dataclass
class Report:
    """The results, and the line that says how the cluster is."""

    results: list[Result] = field(default_factory=list)
    summary: str = ""

    @property
    def findings(self) -> list[Finding]:
        """Of all checks."""
        return [finding for result in self.results for finding in result.findings]

    @property
    def exit_code(self) -> Exit:
        """0 fine, 3 nothing reachable, 8 divergence, 4 no quorum, 1 something else is wrong."""
        asked = {finding.exit_code for finding in self.findings}
        return next((code for code in _WORST_FIRST if code in asked), Exit.OK)

    def to_json(self) -> dict[str, Any]:
        """The document of `-o json`."""
        return {
            "fine": self.exit_code == Exit.OK,
            "exit_code": int(self.exit_code),
            "summary": self.summary,
            "checks": [{"name": r.name, "verdict": r.verdict, "seen": r.seen} for r in self.results],
            "findings": [
                {
                    "check": result.name,
                    "severity": "problem" if finding.exit_code else "advice",
                    "code": finding.code,
                    "detail": finding.detail,
                    "todo": finding.todo or None,
                }
                for result in self.results
                for finding in result.findings
            ],
        }


def judge(name: str, outcome: Outcome) -> Result:
    """The verdict on what a check has seen."""
    if outcome.seen is None:
        return Result(name, "skipped", outcome.skipped, ())
    problems = any(finding.exit_code for finding in outcome.findings)
    verdict = "fail" if problems else "warn" if outcome.findings else "ok"
    return Result(name, verdict, outcome.seen, outcome.findings)

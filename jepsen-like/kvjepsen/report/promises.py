"""What was promised: a row for each check, with the promise in a sentence, the verdict, and how much was looked at."""

from typing import Final

from kvjepsen.report import words
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.results import Check, CheckVerdict
from kvjepsen.report.run import Run
from kvstore import limits

_SHOWN: Final[dict[CheckVerdict, tuple[str, str]]] = {
    "invalid": ("✗", "broken"),
    "unknown": ("?", "not decided"),
    "valid": ("✓", "held"),
}
_COUNTS_MAX: Final = 12


def draw(run: Run) -> Html:
    """The table of checks: broken ones first."""
    checks = run.results.checks
    if not checks:
        return words.note("Nothing was checked.")
    order = list(_SHOWN)
    shown = sorted(checks, key=lambda check: order.index(check.verdict))[: limits.REPORT_ROWS_MAX]
    rows = [[_verdict(check), check.workload or "whole run", _promise(check), _counts(check)] for check in shown]
    return join(
        words.table(["verdict", "workload", "promise", "looked at"], rows, "checks"),
        words.left_out(len(shown), len(checks), "checks"),
    )


def _verdict(check: Check) -> Html:
    sign, word = _SHOWN[check.verdict]
    times = f" {check.broken:,} times" if check.broken > 1 else ""
    return tag("span", f"{sign} {word}{times}", class_=f"pill {check.verdict}")


def _promise(check: Check) -> Html:
    return join(check.promise or check.check, tag("span", check.check, class_="quiet name"))


def _counts(check: Check) -> Html:
    told = [f"{words.plain(name)} {words.figure(number)}" for name, number in list(check.counts.items())[:_COUNTS_MAX]]
    return tag("span", " · ".join(told) or "-", class_="numbers")

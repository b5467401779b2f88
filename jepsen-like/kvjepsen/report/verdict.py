"""The head of the page: what came of the run, why, and how large it was. Nothing needs to be known to read it."""

from collections.abc import Iterator
from typing import Final

from kvjepsen.report import words
from kvjepsen.report.markup import Html, tag
from kvjepsen.report.results import Check, Found, Results, RunVerdict
from kvjepsen.report.run import Run
from kvstore import limits

_SIGNS: Final[dict[RunVerdict, str]] = {"passed": "✓", "failed": "✗", "vacuous": "∅", "unknown": "?"}


def draw(run: Run) -> Html:
    """Verdict, reasons, size."""
    results = run.results
    return tag(
        "header",
        tag(
            "div",
            tag("span", _SIGNS[results.verdict], class_="sign", aria_hidden="true"),
            tag("div", tag("h1", _headline(results)), tag("p", results.title, class_="title")),
            class_=f"verdict {results.verdict}",
        ),
        *_reasons(run),
        words.paragraph(_story(results)),
        _glance(results),
    )


def findings(results: Results) -> list[tuple[Check, Found]]:
    """What is shown one by one: the findings in the order of the checks."""
    every = [(check, found) for check in results.checks if check.verdict == "invalid" for found in check.findings]
    return every[: limits.REPORT_WINDOWS_MAX]


def _headline(results: Results) -> str:
    judged = [check for check in results.checks if check.verdict != "unknown"]
    if results.verdict == "passed":
        return f"Passed: {words.count(len(judged), 'check')} looked, and every promise held"
    if results.verdict == "failed":
        broken = sum(check.verdict == "invalid" for check in results.checks)
        return f"Failed: {words.count(broken, 'promise was', 'promises were')} broken" if broken else "Failed"
    if results.verdict == "vacuous":
        return "Vacuous: too little happened for this run to mean anything"
    return "Unknown: it cannot be said whether the promises held"


def _reasons(run: Run) -> Iterator[Html]:
    results = run.results
    if results.problem is not None:
        yield tag("p", tag("strong", "The run could not go on: "), results.problem, class_="reason")
    for number, (check, found) in enumerate(findings(results), 1):
        where = tag("a", f"see finding {number}", href=f"#finding-{number}")
        yield tag("p", tag("strong", f"{check.name}: "), found.problem, " (", where, ")", class_="reason")
    for reason in results.vacuous[: limits.REPORT_WINDOWS_MAX]:
        yield tag("p", tag("strong", "Too little: "), reason, class_="reason")
    undecided = [check.name for check in results.checks if check.verdict == "unknown"]
    if undecided:
        said = f"{words.names(undecided)}. There was nothing to judge, or judging it took too long."
        yield tag("p", tag("strong", "Not decided: "), said, class_="reason")
    if run.unread is not None:
        yield tag("p", tag("strong", "Without history: "), run.unread, class_="reason")
    if results.expected is not None:
        yield from _expectation(results.verdict, results.expected, "run" if results.scenario is None else "scenario")


def _expectation(verdict: RunVerdict, expected: RunVerdict, what: str) -> Iterator[Html]:
    if verdict != expected:
        yield tag("p", tag("strong", "Not as expected: "), f"this {what} should have {expected}.", class_="reason")
    elif verdict != "passed":
        yield tag("p", tag("strong", "As expected: "), f"this {what} is there to be {expected}.", class_="reason")


def _story(results: Results) -> str:
    kinds = len({fault.fault for fault in results.faults})
    faults = (
        f"while {words.count(len(results.faults), 'fault')} of {words.count(kinds, 'kind')} "
        f"{'was' if len(results.faults) == 1 else 'were'} injected"
        if results.faults
        else "while no fault was injected"
    )
    counts = results.operations
    done = counts.ok + counts.fail + counts.info
    return (
        f"A real cluster of {words.count(len(results.nodes), 'node')} was given {words.count(done, 'operation')} by "
        f"concurrent clients in {results.seconds:,.0f} seconds, {faults}. Everything that clients asked and "
        "were told was recorded, and then checked against what the store promises."
    )


def _glance(results: Results) -> Html:
    counts = results.operations
    pairs = [
        ("succeeded", f"{counts.ok:,}"),
        ("refused", f"{counts.fail:,}"),
        ("unknown outcome", f"{counts.info:,}"),
        ("faults injected", f"{len(results.faults):,}"),
        ("workloads", words.names(results.workloads) or "none"),
        ("doors", words.names(results.doors) or "http"),
        ("nodes", words.names(results.nodes) or "none"),
        ("seed", "-" if results.seed is None else str(results.seed)),
        ("started", results.started or "-"),
        ("versions", f"kvstore {results.kvstore or '?'}, Python {results.python or '?'}"),
    ]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", told)) for name, told in pairs), class_="glance")

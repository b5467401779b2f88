"""Level ONE, which promises less: what became of the writes that it acknowledged, and how old its reads were."""

from collections import Counter
from typing import Final

from kvjepsen.records import History, Operation
from kvjepsen.report import words
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.results import Check
from kvjepsen.report.run import Run
from kvstore import limits

_CHECKS: Final = ("receipts", "staleness", "levels")

# What the counts of these checks are called by people; other counts keep their own name.
_COUNTS: Final = {
    "reads": "reads at ONE whose age is known",
    "stale": "of them older than the newest acknowledged write",
    "bounded": "of them with a bound that they asked for (max_staleness_ms)",
    "median_ms": "median age, ms",
    "p99_ms": "99 of 100 are at most this old, ms",
    "worst_ms": "oldest, ms",
    "one_after_all": "reads at ONE after a write at ALL",
    "all_after_one": "reads at ALL after a write at ONE",
}

_FATES: Final = {
    "committed": "committed: their receipt has a revision",
    "superseded": "superseded: a later write of the same key was there first, and the receipt says so",
    "refused": "refused at once: nothing was acknowledged",
    "open": "acknowledged, but the history does not tell what became of them",
    "silent": "never answered: nobody knows",
}


def draw(run: Run) -> Html:
    """The tables, or that nothing was asked at ONE."""
    fates = _fates(run.history)
    checks = [check for check in run.results.checks if check.check in _CHECKS][: limits.REPORT_ROWS_MAX]
    if not fates and not checks:
        return words.note("No operation of this run used level ONE.")
    written = words.table(
        ["writes at ONE", "how many"], [[text, f"{fates[fate]:,}"] for fate, text in _FATES.items()], "figures"
    )
    return join(
        words.paragraph(
            "A write at ONE is acknowledged by one disk and handed on later; a read at ONE is answered by one node, "
            "from what it has. A write that a later one supersedes, or a read that is a little old, breaks no promise."
        ),
        written if fates else None,
        *(_counts(check) for check in checks),
    )


def _fates(history: History) -> Counter[str]:
    return Counter(_fate(op) for op in history.operations if op.level == "one" and op.f != "read")


def _fate(op: Operation) -> str:
    if op.outcome == "ok" or op.took_effect:
        return "committed"
    if op.outcome == "fail":
        return "superseded" if op.error == "superseded" else "refused"
    return "silent" if op.answered_ns is None or op.error is not None else "open"


def _counts(check: Check) -> Html:
    counts = list(check.counts.items())[: limits.REPORT_ROWS_MAX]
    rows = [[_COUNTS.get(name, words.plain(name)), words.figure(number)] for name, number in counts]
    rows.append(["promises broken", f"{check.broken:,}"])
    return join(tag("h3", check.name), words.table(["what", "figure"], rows, "figures"))

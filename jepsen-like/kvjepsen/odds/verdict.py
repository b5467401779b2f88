"""What the trials say: cells of n, p and level against both formulas, and the verdict. Pure.

Two kinds of evidence. From trials that were drawn with probability p the share that was served is an estimate with a
Clopper-Pearson interval. From all subsets, each made once, the post-stratified estimate holds for any p: the subsets
with k of n nodes failed weigh C(n,k) p^k (1-p)^(n-k) together. If what is served depends on k alone it has no error.

The verdict stands on single trials first: what each subset must show is known exactly, and one mismatch refutes. The
interval of every cell, corrected so that all of them hold together with FAMILY_CONFIDENCE, must hold the exact value.
The documented formula counts a draw, half of an even number failed, as consistent; trials that say otherwise are
counted, and where trials were drawn, its p-value is given.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from kvjepsen.odds.observation import Observation
from kvjepsen.odds.plan import LEVELS, Trial, documented
from kvstore.availability import (
    Interval,
    binomial_p_value,
    clopper_pearson,
    documented_survival,
    familywise_confidence,
    level_availability,
    post_stratified,
)

FAMILY_CONFIDENCE: Final = 0.99
P_VALUE_MAX: Final = 0.001
_SAME: Final = 1e-9

Verdict = Literal["confirmed", "refuted", "incomplete"]


class Judged(NamedTuple):
    """All that is said. `cells` and `subsets` have the shape of odds.json; `notes` are lines for people."""

    verdict: Verdict
    cells: list[dict[str, Any]]
    subsets: list[dict[str, Any]]
    notes: list[str]


def judge(
    observations: Sequence[Observation],
    ps: Sequence[float],
    unreached: Sequence[Trial],
    problems: Sequence[str],
    over_time: Sequence[dict[str, Any]] = (),
) -> Judged:
    """The verdict over `observations`, told for each p of `ps` and those drawn with.

    `unreached`: of the plan; `problems`: of all runs; `over_time`: see `kvjepsen.odds.overtime`.
    """
    nodes = sorted({each.trial.n for each in observations})
    ps = sorted({*ps, *(each.trial.p for each in observations if each.trial.p is not None)})
    count = max(1, len(nodes) * len(ps) * len(LEVELS))
    cells = [_cell(observations, n, p, level, count) for n in nodes for p in ps for level in LEVELS]
    mismatches = sum(each.mismatch(level) for each in observations for level in LEVELS)
    wrong = [f"{each.trial.id}: {line}" for each in observations for line in each.wrong]
    wrong += [f"over time, n={each['n']}: {line}" for each in over_time for line in each["wrong"]]
    refuted = bool(mismatches or wrong or problems) or any(cell["verdict"] == "refuted" for cell in cells)
    short = [each for each in over_time if each["untried"]]
    incomplete = bool(unreached or short) or not (observations or over_time)
    verdict: Verdict = "refuted" if refuted else "incomplete" if incomplete else "confirmed"
    notes = [
        *_mismatch_notes(observations),
        *wrong,
        *(each.splitlines()[0] for each in problems),
        *(f"over time, n={each['n']}: never enough nodes for {', '.join(each['untried'])}" for each in short),
        *_draw_notes(observations, nodes, cells),
    ]
    return Judged(verdict, cells, _subsets(observations), notes)


def _cell(observations: Sequence[Observation], n: int, p: float, level: str, cells: int) -> dict[str, Any]:
    drawn = [each for each in observations if (each.trial.n, each.trial.p) == (n, p)]
    every = [each for each in observations if each.trial.n == n and each.trial.p is None]
    used = drawn or every
    exact = level_availability(level, n, p)
    claimed = documented_survival(n, p) if level == "quorum" else None
    successes = sum(each.served(level) for each in used)
    mismatches = sum(each.mismatch(level) for each in [*drawn, *every])
    cell: dict[str, Any] = {
        "n": n, "p": p, "level": level, "documented": claimed, "exact": exact, "from": "drawn" if drawn else "subsets",
        "trials": len(used), "successes": successes, "unknown": sum(each.outcomes[level] == "unknown" for each in used),
    }  # fmt: skip
    if drawn:
        family = clopper_pearson(successes, len(drawn), familywise_confidence(FAMILY_CONFIDENCE, cells))
        cell |= {
            "observed": successes / len(drawn),
            "ci95": list(clopper_pearson(successes, len(drawn))),
            "ci_family": list(family),
            "p_value_documented": None if claimed is None else binomial_p_value(successes, len(drawn), claimed),
            "p_value_exact": binomial_p_value(successes, len(drawn), exact),
        }
        agrees = _holds(family, exact)
    elif every:
        found, interval, complete = stratified(every, n, p, level)
        cell |= {"observed": found, "ci95": list(interval), "ci_family": None}
        cell |= {"p_value_documented": None, "p_value_exact": None}
        agrees = found is None or not complete or math.isclose(found, exact, abs_tol=_SAME)
    else:
        cell |= {"observed": None, "ci95": None, "ci_family": None, "p_value_documented": None, "p_value_exact": None}
        agrees = True
    cell["mismatches"] = mismatches
    cell["verdict"] = "untested" if not used else "refuted" if mismatches or not agrees else "confirmed"
    return cell


def stratified(every: Sequence[Observation], n: int, p: float, level: str) -> tuple[float | None, Interval, bool]:
    """Estimate, conservative interval, and whether each number of failures was reached. Strata: nodes failed."""
    by_count = [[each.served(level) for each in every if len(each.trial.failed) == k] for k in range(n + 1)]
    weights = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    served, trials = [sum(each) for each in by_count], [len(each) for each in by_count]
    if not sum(weight for weight, count in zip(weights, trials, strict=True) if count):
        return None, Interval(0.0, 1.0), False
    found = post_stratified(weights, served, trials)
    return found.estimate, found.interval, all(trials)


def _holds(interval: Interval, value: float) -> bool:
    return interval.low - _SAME <= value <= interval.high + _SAME


def _subsets(observations: Sequence[Observation]) -> list[dict[str, Any]]:
    return [
        {
            "n": each.trial.n,
            "failed": list(each.trial.failed),
            "leader_failed": each.trial.leader_failed,
            "level": level,
            "predicted": each.served(level) != each.mismatch(level),
            "observed": each.served(level),
        }
        for each in observations
        if each.trial.p is None
        for level in LEVELS
    ]


def _mismatch_notes(observations: Sequence[Observation]) -> list[str]:
    return [
        f"MISMATCH {each.trial.id}: {level} must {'not ' * each.served(level)}be served when "
        f"{len(each.trial.failed)} of {each.trial.n} fail, and was {each.outcomes[level]} (leader {each.leader})"
        for each in observations
        for level in LEVELS
        if each.mismatch(level)
    ]


def _draw_notes(observations: Sequence[Observation], nodes: Sequence[int], cells: list[dict[str, Any]]) -> list[str]:
    """What the documented formula gets wrong."""
    notes = []
    for n in nodes:
        draws = [each for each in observations if each.trial.n == n and 2 * len(each.trial.failed) == n]
        against = sum(documented(n, len(each.trial.failed)) != each.served("quorum") for each in draws)
        if draws:
            notes.append(f"n={n}: the documented formula calls {n // 2} failures consistent; QUORUM was not served in "
                         f"{against} of {len(draws)} such trials")  # fmt: skip
        for cell in cells:
            p_value = cell["p_value_documented"]
            if cell["n"] == n and p_value is not None and p_value < P_VALUE_MAX:
                notes.append(f"n={n} p={cell['p']:g}: observed {cell['observed']:.4f}, documented "
                             f"{cell['documented']:.4f} is rejected (p-value {p_value:.1g}), exact {cell['exact']:.4f} "
                             f"has p-value {cell['p_value_exact']:.2g}")  # fmt: skip
    return notes

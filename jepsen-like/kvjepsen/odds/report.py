"""odds.json, and the table for people. Pure, but for the versions that it names."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from kvjepsen.odds.plan import Fault, Trial
from kvjepsen.odds.verdict import Judged

COLUMNS: Final = ("n", "p", "level", "documented", "exact", "observed", "95 %", "trials", "wrong", "verdict")
OVER_TIME_COLUMNS: Final = (
    "n", "level", "down (formula)", "outages (formula)", "mean s (formula)", "not served", "failover loss", "verdict",
)  # fmt: skip
NAMED_MAX: Final = 20
_PACKAGES: Final = ("kvstore", "pysyncobj", "aiohttp")


def document(
    judged: Judged,
    *,
    command: str,
    seed: int,
    fault: Fault,
    simulated: bool,
    trials: int,
    unreached: Sequence[Trial],
    seconds: float,
    failover_s: dict[str, Any] | None,
    over_time: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """odds.json. `trials` were made by all runs, `unreached` were planned and made by none; `seconds`: of all runs."""
    return {
        "version": 1,
        "command": command,
        "seed": seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "fault": fault,
        "simulated": simulated,
        "verdict": judged.verdict,
        "trials": trials,
        "cells": judged.cells,
        "subsets": judged.subsets,
        "failover_s": failover_s,
        "over_time": list(over_time),
        "notes": judged.notes,
        "unreached": [trial.id for trial in unreached],
        "seconds": round(seconds, 1),
    }


def rows(cells: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells, one a line, for COLUMNS."""
    return [
        [
            str(cell["n"]),
            f"{cell['p']:g}",
            cell["level"],
            _share(cell["documented"]),
            _share(cell["exact"]),
            _share(cell["observed"]),
            f"{cell['ci95'][0]:.3f}-{cell['ci95'][1]:.3f}" if cell["from"] == "drawn" else "-",
            str(cell["trials"]),
            str(cell["mismatches"]),
            cell["verdict"],
        ]
        for cell in cells
    ]


def over_time_rows(over_time: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The lives of nodes, a level a line, for OVER_TIME_COLUMNS: what happened, beside what the formulas expect."""
    return [
        [
            str(each["n"]),
            level,
            *(_beside(found["structural"][name], found["formula"][name], digits)
              for name, digits in (("unavailability", 4), ("outages", 1), ("mean_s", 1))),
            _share(found["not_served"]),
            _share(found["failover_loss"]),
            each["verdict"],
        ]
        for each in over_time
        for level, found in each["levels"].items()
    ]  # fmt: skip


def _beside(value: float | None, expected: float, digits: int) -> str:
    return f"{'-' if value is None else f'{value:.{digits}f}'} ({expected:.{digits}f})"


def over_time_line(each: dict[str, Any]) -> str:
    """What was done, in one line."""
    return (
        f"over time, n={each['n']}: {each['failures']} failures in {each['seconds']:g} s, MTTF {each['mttf_s']:g} s, "
        f"MTTR {each['mttr_s']:g} s, {sum(found['probes'] for found in each['levels'].values()):,} writes"
    )


def summary(
    judged: Judged, trials: int, unreached: Sequence[Trial], seconds: float, failover_s: dict[str, Any] | None = None
) -> list[str]:
    """What is said below the table; the last line is the verdict."""
    lines = list(judged.notes)
    if failover_s is not None:
        median, p99, worst = (f"{failover_s[name]:.2f} s" for name in ("median", "p99", "worst"))
        rounds = failover_s["rounds"]
        lines.append(f"failover, measured apart: no write for {median} (median of {rounds}), p99 {p99}, worst {worst}")
    if unreached:
        named = ", ".join(trial.id for trial in unreached[:NAMED_MAX])
        more = f" and {len(unreached) - NAMED_MAX:,} more" if len(unreached) > NAMED_MAX else ""
        lines.append(f"not reached, not counted: {named}{more}; run it again with the same --out to go on")
    unknown = any(cell["unknown"] for cell in judged.cells)
    if unknown:
        lines.append("writes that ended unknown count as not served; the cells of odds.json say how many there were")
    lines.append(f"{judged.verdict}: {f'{trials:,} trials, ' * bool(trials)}{seconds:.0f} s")
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

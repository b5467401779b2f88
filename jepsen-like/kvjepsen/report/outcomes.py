"""What clients were told, in numbers: operations by workload and outcome, and how long answers took in each phase."""

from collections.abc import Sequence

import numpy as np

from kvjepsen.records import Operation
from kvjepsen.report import words
from kvjepsen.report.latency import latency_ms
from kvjepsen.report.markup import Html, join
from kvjepsen.report.results import Counts
from kvjepsen.report.run import Run
from kvstore import limits


def draw(run: Run) -> Html:
    """Two tables."""
    return join(_by_workload(run), _by_phase(run))


def _by_workload(run: Run) -> Html:
    told = run.results.operations
    kept = list(told.by_workload.items())[: limits.REPORT_ROWS_MAX]
    rows = [_row(workload, counts) for workload, counts in kept]
    if len(rows) != 1:
        rows.append(_row("all", told))
    head = ["workload", "succeeded", "refused", "unknown outcome"]
    return words.table(head, rows, "figures")


def _row(name: str, counts: Counts) -> list[str]:
    return [name, f"{counts.ok:,}", f"{counts.fail:,}", f"{counts.info:,}"]


def _by_phase(run: Run) -> Html | None:
    phases = run.results.phases[: limits.REPORT_ROWS_MAX]
    rows = []
    for phase in phases:
        until = run.end_of(phase)
        asked = [op for op in run.history.operations if op.t_ns is not None and phase.from_ns <= op.t_ns < until]
        succeeded = run.results.operations.ok_by_phase.get(phase.name)
        rows.append([phase.name, words.figure(succeeded), *_latencies(asked)])
    head = ["part of the run", "succeeded", "median answer", "99 of 100 within", "slowest"]
    return words.table(head, rows, "figures") if rows else None


def _latencies(operations: Sequence[Operation]) -> list[str]:
    took = [ms for op in operations if op.outcome == "ok" and (ms := latency_ms(op)) is not None]
    if not took:
        return ["-"] * 3
    return [words.milliseconds(float(ms)) for ms in np.percentile(took, (50, 99, 100))]

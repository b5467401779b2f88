"""Medians with ranges, and ratios of what was measured in the same round, as Markdown."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from tests.bench.systems import SYSTEMS
from tests.bench.work import FAILOVER, REST, Row


class Line(NamedTuple):
    """One line of the table: of which work, what; `more`: whether more is better."""

    title: str
    work: str
    of: Callable[[Row], float | None]
    more: bool
    digits: int


class Figure(NamedTuple):
    """The median of some rounds, and their range."""

    median: float
    low: float
    high: float
    rounds: int

    def text(self, digits: int) -> str:
        """`1,234 (1,200 to 1,300)`; the range only if there is one."""
        median, low, high = (f"{value:,.{digits}f}" for value in self[:3])
        return median if low == high else f"{median} ({low} to {high})"


def _mean(values: Sequence[float] | None) -> float | None:
    return statistics.fmean(values) if values else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


LINES: Final = (
    Line("PUT, 1 client, p50 ms", "put-1", lambda row: row.get("p50_ms"), False, 2),
    Line("PUT/s, 64 in flight", "put-64", lambda row: row.get("per_second"), True, 0),
    Line("PUT/s, 256 in flight", "put-256", lambda row: row.get("per_second"), True, 0),
    Line("PUT, 64 in flight, p99 ms", "put-64", lambda row: row.get("p99_ms"), False, 1),
    Line("GET, 1 client, p50 ms", "get-1", lambda row: row.get("p50_ms"), False, 2),
    Line("GET/s, 64 in flight", "get-64", lambda row: row.get("per_second"), True, 0),
    Line("stale GET/s, 64 in flight", "stale-64", lambda row: row.get("per_second"), True, 0),
    Line("CPU of the servers per PUT at 64, us", "put-64", lambda row: row.get("server_cpu_us"), False, 0),
    Line("CPU of the servers per GET at 64, us", "get-64", lambda row: row.get("server_cpu_us"), False, 0),
    Line("CPU of the generator per PUT at 64, us", "put-64", lambda row: row.get("generator_cpu_us"), False, 0),
    Line("write gap after SIGKILL of the leader, s", FAILOVER, lambda row: row.get("gap_s"), False, 2),
    Line("RSS of a node at rest, MiB", REST, lambda row: _mean(row.get("rss_mib")), False, 0),
    Line("RSS of a node with 10,000 keys, MiB", REST, lambda row: _mean(row.get("rss_loaded_mib")), False, 0),
    Line("CPU at rest, all nodes, % of a core", REST, lambda row: _percent(row.get("idle_cpu_share")), False, 1),
)


def by_round(rows: Iterable[Row], system: str, line: Line) -> dict[int, float]:
    """The value of each round. What failed, or had errors, is no value."""
    found: dict[int, float] = {}
    for row in rows:
        if (row["system"], row["work"]) == (system, line.work) and "failed" not in row and not row.get("errors"):
            value = line.of(row)
            if value is not None:
                found[row["round"]] = value
    return found


def figure(values: Iterable[float]) -> Figure | None:
    """None if there are no values."""
    known = list(values)
    return Figure(statistics.median(known), min(known), max(known), len(known)) if known else None


def ratio(rows: Sequence[Row], ours: str, theirs: str, line: Line) -> Figure | None:
    """Ours divided by theirs, round by round; the two may have different rounds only at rest."""
    mine, others = by_round(rows, ours, line), by_round(rows, theirs, line)
    return figure(mine[turn] / others[turn] for turn in sorted(mine.keys() & others.keys()) if others[turn])


def measured(rows: Sequence[Row]) -> list[str]:
    """The systems with a row, in the order of SYSTEMS."""
    there = {row["system"] for row in rows}
    return [name for name in SYSTEMS if name in there]


def figures(rows: Sequence[Row]) -> str:
    """The table of medians and ranges."""
    systems = measured(rows)
    lines = []
    for line in LINES:
        found = [figure(by_round(rows, system, line).values()) for system in systems]
        if any(found):
            limited = [_limited(rows, system, line) for system in systems]
            cells = [
                "-" if each is None else each.text(line.digits) + " \N{DAGGER}" * mark
                for each, mark in zip(found, limited, strict=True)
            ]
            lines.append([line.title, *cells])
    return markdown(["", *(SYSTEMS[system].title for system in systems)], lines)


def ratios(rows: Sequence[Row], ours: str) -> str:
    """The table of ratios of one system of ours to each of the others."""
    others = [system for system in measured(rows) if not SYSTEMS[system].ours]
    lines = []
    for line in LINES:
        found = [ratio(rows, ours, system, line) for system in others]
        if any(found):
            title = f"{line.title} ({'more' if line.more else 'less'} is better)"
            lines.append([title, *("-" if each is None else each.text(2) for each in found)])
    return markdown(
        [f"{SYSTEMS[ours].title}, divided by that of", *(SYSTEMS[system].title for system in others)], lines
    )


def _limited(rows: Sequence[Row], system: str, line: Line) -> bool:
    """Whether the generator was the limit in most rounds."""
    told = [
        bool(row.get("generator_is_the_limit"))
        for row in rows
        if (row["system"], row["work"]) == (system, line.work) and "failed" not in row
    ]
    return line.more and bool(told) and sum(told) * 2 > len(told)


def problems(rows: Sequence[Row]) -> list[str]:
    """What failed or had errors, and is not in the figures."""
    told = []
    for row in rows:
        reason = row.get("failed") or (f"{row['errors']:,} errors: {row.get('error')}" if row.get("errors") else None)
        if reason is not None:
            told.append(f"round {row['round']}, {row['system']}, {row['work']}: {reason}")
    return told


def strangers(rows: Sequence[Row]) -> Figure | None:
    """The share of one core that other processes and the hypervisor took while it was measured."""
    return figure(row["others_cpu_share"] + row["stolen_cpu_share"] for row in rows if "others_cpu_share" in row)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])

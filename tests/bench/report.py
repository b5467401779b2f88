"""The words around the tables of a comparison."""

from collections.abc import Sequence
from typing import Any

from tests.bench import table
from tests.bench.goals import judged
from tests.bench.systems import SYSTEMS
from tests.bench.work import REST, Row


def brief(row: Row) -> str:
    """A row in a few words."""
    if "failed" in row:
        return f"failed: {row['failed']}"
    if "gap_s" in row:
        return f"gap {row['gap_s']:.3f} s"
    words = f"{row['per_second']:,.0f}/s, p50 {row['p50_ms']:.2f} ms, {row['server_cpu_us']:.0f} us of the servers"
    limit = ", the generator is the limit" if row["generator_is_the_limit"] else ""
    return words + limit + (f", {row['errors']} errors: {row['error']}" if row["errors"] else "")


def text(rows: Sequence[Row], run: dict[str, Any], *, picture: str | None = None, folder: str | None = None) -> str:
    """Everything about one run, as Markdown."""
    on = run["machine"]
    parts = [
        f"{on['cores']} cores ({on['cpu']}) for servers and generator, {on['memory_gib']} GiB, Linux {on['kernel']}, "
        f"Python {on['python']}, data on {on['filesystem']}.\n"
        f"Rounds: {_rounds(rows)}, {run['seconds']} s for each load and system, one system at work at a time, the "
        "others idle but not stopped.\n"
        "Medians, with their range. Values of 100 bytes, 10,000 keys, load at the leader's node.",
        f"```sh norun: takes a quarter of an hour\n{run['command']}\n```",
        table.figures(rows),
        _notes(rows, run),
    ]
    if picture is not None:
        parts.append(f"![Operations a second of each system]({picture})")
    there = table.measured(rows)
    if any(not SYSTEMS[name].ours for name in there):
        parts += [table.ratios(rows, name) for name in there if SYSTEMS[name].ours]
    parts.append("Of the goals of this project:")
    parts.append(judged(rows))
    problems = table.problems(rows)
    if problems:
        parts.append("What failed, or had errors, is in no figure above:")
        parts.append("\n".join(f"- {problem}" for problem in problems))
    if folder is not None:
        parts.append(f"All rows: [{folder}/rows.jsonl]({folder}/rows.jsonl).")
    return "\n\n".join(parts)


def _rounds(rows: Sequence[Row]) -> int:
    return len({row["round"] for row in rows if row["work"] != REST})


def _notes(rows: Sequence[Row], run: dict[str, Any]) -> str:
    notes = []
    for name in table.measured(rows):
        told, entry = run["systems"][name], SYSTEMS[name]
        caveat = f"; {entry.caveat}" if entry.caveat else ""
        notes.append(f"- {entry.title}: {told['version']}, {told['notes']}{caveat}. Generator: {told['generator']}.")
    notes += [f"- {SYSTEMS[name].title}: skipped, {why}." for name, why in run["skipped"].items()]
    if any(row.get("generator_is_the_limit") for row in rows):
        notes.append(
            "- \N{DAGGER}: the generator used 90 % or more of the cores that it can use: the rate is its limit, the "
            "system may do more."
        )
    others = table.strangers(rows)
    if others is not None:
        notes.append(
            f"- Everything else on the machine took {others.median:.0%} of one core (median; {others.low:.0%} to "
            f"{others.high:.0%}) while it was measured: the clusters at rest, and strangers."
        )
    return "\n".join(notes)

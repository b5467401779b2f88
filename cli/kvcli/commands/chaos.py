"""`kv chaos`: breaks things on purpose and checks what the store promises."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kvcli import output
from kvcli.commands.chaos_odds import odds
from kvcli.commands.chaos_report import report
from kvcli.commands.chaos_run import listed_mutants, run_chaos
from kvcli.commands.chaos_suite import run_suite
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import Choice, group
from kvcli.progress import Progress
from kvstore import limits

if TYPE_CHECKING:
    from kvjepsen.campaign import Totals
    from kvjepsen.runners.sim import Result

VIOLATED: Final = 1

# Those of kvjepsen/formats.py, here so that help needs no import.
_FORMATS: Final = ("jsonl", "jepsen", "porcupine-kv")


@group(short_help="Break things on purpose, and check the promises.")
@global_options
def chaos() -> None:
    """Break things on purpose, and check what the store promises."""


chaos.add_command(odds)
chaos.add_command(run_chaos)
chaos.add_command(run_suite)
chaos.add_command(report)


@chaos.command()
@click.option("--seeds", type=click.IntRange(1), default=100, show_default=True, help="How many runs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first one's seed.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes.")
@click.option("--members", is_flag=True, help="Add, remove and replace members too.")
@click.option("--mutant", metavar="NAME", help="Switch a rule off: the simulator has to find it.  ['help' lists them]")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    show_default=True,
    help="Where the traces of runs that failed go.",
)
@global_options
def simulate(seeds: int, seed: int, jobs: int, members: bool, mutant: str | None, directory: Path) -> int:
    """Run whole clusters on virtual time, with faults that a seed decides, and check every promise after every step.

    Exit code 0 when all held, 1 when one did not. The same seed gives the same run.
    """
    from kvjepsen.campaign import Totals, campaign
    from kvjepsen.mutants import MUTANTS

    if mutant == "help":
        output.write_explained(*listed_mutants(MUTANTS), settings().output)
        return Exit.OK
    if mutant is not None and mutant not in MUTANTS:
        raise click.UsageError(f"the mutants are {', '.join(MUTANTS)}")
    totals = Totals()
    started = time.monotonic()
    results = campaign(range(seed, seed + seeds), jobs=jobs, members=members, mutant=mutant)
    _watch(results, totals, seeds)
    _tell(totals, time.monotonic() - started)
    if not totals.failures:
        return Exit.OK
    _explain(totals, directory, members, mutant)
    return VIOLATED


@chaos.command()
@click.argument("history", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=Choice(_FORMATS), default="jsonl", show_default=True, help="How the file is written."
)
@click.option("--model", type=Choice(("register", "kv")), default="kv", show_default=True, help="What it tells of.")
@click.option(
    "--seconds-per-key",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=limits.CHECK_KEY_S_MAX,
    show_default=True,
    help="How long to search for an order of one key's operations.",
)
@global_options
def check(history: Path, form: str, model: str, seconds_per_key: float) -> int:
    """Say whether a recorded HISTORY is linearizable, each key by itself.

    Prints linearizable, not-linearizable or unknown, with exit code 0, 1 or 5; a file that cannot be read is 7. What is
    wrong is told on standard error: the fewest operations that no order explains. Files may be gzip or lz4.

    A register is read, written, compared and set, deleted; kv knows append too.
    """
    from kvcli.windows import WORDS, explain, to_json
    from kvjepsen import checker
    from kvjepsen.formats import read_history

    found = read_history(history, form)
    bounds = checker.Bounds(seconds_max=seconds_per_key)
    with Progress("checked", len(found.by_key())) as progress:
        result = checker.check(found, model, bounds, each=progress.advance)
    word, code = WORDS[result.verdict]
    mode = settings().output
    if mode is Mode.JSON:
        output.write_json(to_json(result))
        return code
    output.write_line(word)
    if mode is not Mode.RAW:
        window = explain(found, result)
        if mode is Mode.TABLE and window.rows:
            output.write_rows(window.columns, window.rows, mode)
        window.tell(table=mode is Mode.SIMPLE)
    return code


def _watch(results: "Iterable[Result]", totals: "Totals", seeds: int) -> None:
    with Progress("simulated", seeds, unit="runs") as progress:
        for result in results:
            totals.add(result)
            progress.advance()
            if result.problem is not None:
                output.message(f"seed {result.seed}: {result.problem}")


def _tell(totals: "Totals", seconds: float) -> None:
    mode = settings().output
    document = {**totals.to_json(), "wall_seconds": round(seconds, 1)}
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(document)
        return
    rows = [[name.replace("_", " "), str(value)] for name, value in document.items() if name != "failed"]
    rows.insert(1, ["failed", str(len(totals.failures))])
    output.write_rows(["what", "value"], rows, mode)


def _explain(totals: "Totals", directory: Path, members: bool, mutant: str | None) -> None:
    """One report is enough to begin with; the other seeds are named."""
    from kvjepsen.campaign import replay_command, write_report

    first = min(totals.failures, key=lambda result: result.seed)
    path = write_report(first.seed, directory, members=members, mutant=mutant)
    output.message(f"a shorter plan that fails alike, and its trace, are in {path}")
    for result in sorted(totals.failures, key=lambda result: result.seed)[:10]:
        output.message(replay_command(result.seed, members=members, mutant=mutant))

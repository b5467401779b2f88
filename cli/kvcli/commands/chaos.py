"""`kv chaos`: breaks things on purpose and checks what the store promises."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.progress import Progress

if TYPE_CHECKING:
    from kvjepsen.campaign import Totals
    from kvjepsen.runners.sim import Result

VIOLATED: Final = 1


@click.group(short_help="Break things on purpose, and check the promises.")
@global_options
def chaos() -> None:
    """Break things on purpose, and check what the store promises."""


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

"""`kv chaos odds`: fails subsets of the nodes of real or simulated clusters, and holds what is served then against the
formulas."""

import asyncio
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.progress import Progress
from kvstore import limits

if TYPE_CHECKING:
    from kvjepsen.odds.plan import Fault

REFUTED: Final = 1
_EXIT_CODES: Final[dict[str, int]] = {"confirmed": Exit.OK, "refuted": REFUTED, "incomplete": Exit.UNKNOWN}


def _nodes(context: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    try:
        nodes = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list like 3,4") from None
    if not 1 <= nodes[0] <= nodes[-1] <= limits.ODDS_TRIAL_NODES_MAX:
        raise click.BadParameter(f"{text!r}: from 1 to {limits.ODDS_TRIAL_NODES_MAX} nodes")
    return nodes


def _chances(context: click.Context, parameter: click.Parameter, text: str) -> list[float]:
    try:
        chances = sorted({float(word) for word in text.split(",")})
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list like 0.1,0.3") from None
    if not 0 <= chances[0] <= chances[-1] <= 1:
        raise click.BadParameter(f"{text!r}: chances are from 0 to 1")
    return chances


@click.command(short_help="Fail subsets of the nodes, and hold what is served against the formulas.")
@click.option("--nodes", default="3,4", show_default=True, metavar="N,...", callback=_nodes, help="Sizes of clusters.")
@click.option(
    "--p", "ps", default="0.1,0.3,0.5", show_default=True, metavar="P,...", callback=_chances,
    help="Chances that a node is down: for trials that are drawn, and for what all subsets say together.",
)  # fmt: skip
@click.option("--trials", type=click.IntRange(0), default=0, show_default=True, help="Drawn trials for each N and P.")
@click.option(
    "--exhaustive", is_flag=True, help="Every subset, with the leader inside and outside. [default without --trials]"
)
@click.option(
    "--fault", type=click.Choice(("kill", "pause", "isolate")), default="kill", show_default=True,
    help="SIGKILL, SIGSTOP, or cut off from the other nodes and from clients.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides what is drawn.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Clusters at a time.")
@click.option(
    "--budget", type=click.FloatRange(1), default=150.0, show_default=True, metavar="SECONDS",
    help="When to stop; what was not reached is listed.",
)  # fmt: skip
@click.option("--simulate", is_flag=True, help="On simulated clusters: virtual time, thousands of trials.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Where trials.jsonl, odds.json and odds.html go. What is there already is not done again.",
)  # fmt: skip
@global_options
def odds(
    nodes: list[int], ps: list[float], trials: int, exhaustive: bool, fault: "Fault", seed: int, jobs: int,
    budget: float, simulate: bool, out: Path | None,
) -> int:  # fmt: skip
    """Fail subsets of the nodes of clusters made for it, and hold what is served then against the formulas.

    A trial fails some nodes, waits for the longest election, and writes at each level, trying every node. How many are
    alive says what must be served: one, a majority, all. One mismatch refutes. OBSERVED is the share of the drawn
    trials; from all subsets it is their sum, weighed with their chances. docs/availability.md explains it.

    Exit code 0 when the exact formulas are confirmed, 1 when refuted, 5 when trials were not reached within the budget.
    """
    from kvcluster.topology import write_atomically
    from kvjepsen.odds import running, simulated
    from kvjepsen.odds.clusters import live_benches
    from kvjepsen.odds.observation import Results
    from kvjepsen.odds.page import page
    from kvjepsen.odds.plan import plan
    from kvjepsen.odds.report import COLUMNS, document, rows, summary
    from kvjepsen.odds.running import unreached
    from kvjepsen.odds.verdict import judge

    everything = exhaustive or not trials
    if everything and not simulate and nodes[-1] > limits.ODDS_EXHAUSTIVE_NODES_MAX:
        raise click.UsageError(
            f"every subset of {nodes[-1]} nodes takes too long on real clusters (at most "
            f"{limits.ODDS_EXHAUSTIVE_NODES_MAX}); use --trials, or --simulate"
        )
    wanted = plan(nodes, ps, trials, seed, every=everything)
    results = Results(out, seed=seed, fault=fault, simulated=simulate)
    begun = time.monotonic()
    with Progress("made", len(unreached(wanted, results)), unit="trials") as progress:
        if simulate:
            simulated.run(wanted, results, fault, seed, jobs=jobs, budget_s=budget, each=progress.advance)
        else:
            benches = live_benches(fault, output.message)
            work = running.run(
                wanted, results, benches, jobs=jobs, budget_s=budget, each=lambda _observation: progress.advance()
            )
            asyncio.run(work)
    left = unreached(wanted, results)
    judged = judge(results.observations, ps, left, results.problems)
    seconds = time.monotonic() - begun
    found = document(
        judged, command=shlex.join(["kv", *sys.argv[1:]]), seed=seed, fault=fault, simulated=simulate, unreached=left,
        seconds=seconds, failover_s=None,
    )  # fmt: skip
    if out is not None:
        write_atomically(out / "odds.json", json.dumps(found, indent=1) + "\n")
        write_atomically(out / "odds.html", page(found))
    mode = settings().output
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(found)
    else:
        output.write_rows(COLUMNS, rows(judged.cells), mode)
        output.flush()
        for line in summary(judged, len(results.observations), left, seconds):
            output.message(line)
    return _EXIT_CODES[judged.verdict]

"""`kv chaos odds`: fails subsets of the nodes of real or simulated clusters, and holds what is served then against the
formulas."""

import asyncio
import json
import math
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from kvcli import output
from kvcli.commands.chaos_clusters import refuse_to_attach
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import Choice, command
from kvcli.progress import Progress
from kvstore import limits

if TYPE_CHECKING:
    from kvjepsen.odds.lifetimes import Lives
    from kvjepsen.odds.observation import Results
    from kvjepsen.odds.plan import Fault, Trial

REFUTED: Final = 1
_FAILOVER_NODES_MIN: Final = 3
_BUDGET_S: Final = 150.0
_BUDGET_MARGIN: Final = 1.5
_BUDGET_STEP_S: Final = 60
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


@command(short_help="Fail subsets of the nodes, and hold what is served against the formulas.")
@click.option("--nodes", default="3,4", show_default=True, metavar="N,...", callback=_nodes, help="Sizes of clusters.")
@click.option(
    "--p", "ps", default="0.1,0.3,0.5", show_default=True, metavar="P,...", callback=_chances,
    help="Chances that a node is down, for what is drawn and for what all say together.",
)  # fmt: skip
@click.option("--trials", type=click.IntRange(0), default=0, show_default=True, help="Drawn trials for each N and P.")
@click.option(
    "--exhaustive", is_flag=True, help="Every subset, with the leader inside and outside. [default without --trials]"
)
@click.option(
    "--fault", type=Choice(("kill", "pause", "isolate")), default="kill", show_default=True,
    help="SIGKILL, SIGSTOP, or cut off from nodes and clients.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides what is drawn.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Clusters at a time.")
@click.option(
    "--budget", type=click.FloatRange(1), default=_BUDGET_S, show_default=True, metavar="SECONDS",
    help="When to stop; what was not reached is listed.",
)  # fmt: skip
@click.option(
    "--failovers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How often to measure how long nobody can write after a leader was killed.",
)
@click.option(
    "--over-time", type=click.FloatRange(1, limits.ODDS_OVER_TIME_S_MAX), metavar="SECONDS",
    help="Let nodes fail and come back by themselves so long; virtual with --simulate.",
)  # fmt: skip
@click.option("--mttf", type=click.FloatRange(1), default=30.0, show_default=True, metavar="SECONDS",
              help="Mean time to failure of a node, with --over-time.")  # fmt: skip
@click.option("--mttr", type=click.FloatRange(1), default=15.0, show_default=True, metavar="SECONDS",
              help="Mean time to repair, with --over-time.")  # fmt: skip
@click.option("--simulate", is_flag=True, help="On simulated clusters: virtual time, thousands of trials.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Where results go (odds.json, odds.html, ...); what is there is not done again.",
)  # fmt: skip
@global_options
def odds(
    nodes: list[int], ps: list[float], trials: int, exhaustive: bool, fault: "Fault", seed: int, jobs: int,
    budget: float, failovers: int, over_time: float | None, mttf: float, mttr: float, simulate: bool, out: Path | None,
) -> int:  # fmt: skip
    """Fail subsets of the nodes of clusters made for it, and hold what is served then against the formulas.

    A trial fails some nodes, waits for the longest election, and writes at each level, trying every node. How many are
    alive says what must be served: one, a majority, all. One mismatch refutes. OBSERVED is the share of the drawn
    trials; from all subsets it is their sum, weighed with their chances. docs/availability.md explains it.

    Exit code 0 when the exact formulas are confirmed, 1 when refuted, 5 when trials were not reached within the budget.
    """
    from kvjepsen.odds.lifetimes import Lives
    from kvjepsen.odds.observation import Results, alone
    from kvjepsen.odds.plan import plan

    if over_time and fault != "kill":
        raise click.UsageError("--over-time kills nodes; it knows no other fault")
    everything = exhaustive or not (trials or over_time)
    if everything and not simulate and nodes[-1] > limits.ODDS_EXHAUSTIVE_NODES_MAX:
        raise click.UsageError(
            f"every subset of {nodes[-1]} nodes takes too long on real clusters (at most "
            f"{limits.ODDS_EXHAUSTIVE_NODES_MAX}); use --trials, or --simulate"
        )
    if failovers and (simulate or nodes[-1] < _FAILOVER_NODES_MIN):
        raise click.UsageError("--failovers needs real clusters of three nodes or more")
    if not simulate:
        refuse_to_attach("kv chaos odds")
    wanted = plan(nodes, ps, trials, seed, every=everything)
    with alone(out):
        results = Results(out, seed=seed, fault=fault, simulated=simulate)
        begun, before = time.monotonic(), len(results.observations)
        if simulate:
            _simulate(wanted, results, fault, seed, jobs, budget)
        else:
            asyncio.run(_make(wanted, results, fault, jobs, budget, failovers, nodes[-1]))
        if over_time:
            _live(results, [Lives(n, mttf, mttr, over_time, seed) for n in nodes], simulate)
        seconds = time.monotonic() - begun
        if len(results.observations) > before:
            results.add_run(seconds)
        return _tell(wanted, results, ps, out, seed, fault, simulate, seconds)


def _simulate(wanted: "list[Trial]", results: "Results", fault: "Fault", seed: int, jobs: int, budget_s: float) -> None:
    from kvjepsen.odds.running import unreached
    from kvjepsen.odds.simulated import run

    with Progress("simulated", len(unreached(wanted, results)), unit="trials") as progress:
        run(wanted, results, fault, seed, jobs=jobs, budget_s=budget_s, each=progress.advance)


async def _make(
    wanted: "list[Trial]", results: "Results", fault: "Fault", jobs: int, budget_s: float, failovers: int, largest: int
) -> None:
    from kvjepsen.odds.clusters import live_benches
    from kvjepsen.odds.failovers import measure
    from kvjepsen.odds.running import run, unreached

    until = time.monotonic() + budget_s
    benches = live_benches(fault, output.message)
    with Progress("made", len(unreached(wanted, results)), unit="trials") as progress:
        await run(wanted, results, benches, jobs=jobs, budget_s=budget_s, each=lambda _observation: progress.advance())
    await measure(results, benches, largest, failovers, until - time.monotonic(), output.message)


def _live(results: "Results", wanted: "list[Lives]", simulated: bool) -> None:
    """One cluster after the other; what `results` has already is not done again."""
    from kvjepsen.odds import overtime
    from kvjepsen.odds.clusters import live_over_time
    from kvjepsen.odds.lifetimes import Lives
    from kvjepsen.odds.simulated import simulate_over_time

    done = {tuple(found[name] for name in Lives._fields) for found in results.over_time}
    for lives in (each for each in wanted if each not in done):
        output.message(f"n={lives.n}: nodes fail and come back for {lives.seconds:g} s")
        if simulated:
            lived = simulate_over_time(lives)
        else:
            lived = asyncio.run(live_over_time(lives, output.message))
        if isinstance(lived, str):
            results.add_problem(lived)
        else:
            results.add_over_time(overtime.judged(lived))


def _command(results: "Results") -> str:
    """What makes all of `results` anew, in one run: the options as given, with a budget that is enough for it."""
    context = click.get_current_context()
    words = ["kv", "chaos", "odds"]
    # Folders of older versions do not say how long runs took. Seconds of simulated trials are virtual.
    trials_s = 0.0 if context.params["simulate"] else sum(each.seconds for each in results.observations)
    spent_s = sum(results.runs_s) or trials_s
    enough_s = _BUDGET_STEP_S * math.ceil(_BUDGET_MARGIN * spent_s / _BUDGET_STEP_S)
    for option in context.command.params:
        value = context.params.get(str(option.name))
        if option.name == "budget":
            if enough_s > _BUDGET_S:
                words += [option.opts[0], str(enough_s)]
        elif context.get_parameter_source(str(option.name)) is not ParameterSource.DEFAULT and value is not None:
            values = value if isinstance(value, list) else [value]
            shown = ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values)
            words += [option.opts[0]] if value is True else [option.opts[0], shown]
    return shlex.join(words)


def _tell(
    wanted: "list[Trial]",
    results: "Results",
    ps: list[float],
    out: Path | None,
    seed: int,
    fault: "Fault",
    simulated: bool,
    seconds: float,
) -> int:
    from kvcluster.topology import write_atomically
    from kvjepsen.odds import failovers
    from kvjepsen.odds.page import page
    from kvjepsen.odds.plot import picture
    from kvjepsen.odds.report import COLUMNS, OVER_TIME_COLUMNS, document, over_time_line, over_time_rows, rows, summary
    from kvjepsen.odds.running import unreached
    from kvjepsen.odds.verdict import judge

    left = unreached(wanted, results)
    judged = judge(results.observations, ps, left, results.problems, results.over_time)
    failover_s = failovers.summary(results.failovers_s)
    found = document(
        judged,
        command=_command(results),
        seed=seed,
        fault=fault,
        simulated=simulated,
        trials=len(results.observations),
        unreached=left,
        seconds=sum(results.runs_s) or seconds,
        failover_s=failover_s,
        over_time=results.over_time,
    )
    if out is not None:
        write_atomically(out / "odds.json", json.dumps(found, indent=1) + "\n")
        write_atomically(out / "odds.html", page(found))
        if judged.cells:
            write_atomically(out / "odds.svg", picture(found))
    mode = settings().output
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(found)
    else:
        if judged.cells:
            output.write_rows(COLUMNS, rows(judged.cells), mode)
        if results.over_time:
            output.write_rows(OVER_TIME_COLUMNS, over_time_rows(results.over_time), mode)
        output.flush()
        for each in results.over_time:
            output.message(over_time_line(each))
        for line in summary(judged, len(results.observations), left, seconds, failover_s):
            output.message(line)
    return _EXIT_CODES[judged.verdict]

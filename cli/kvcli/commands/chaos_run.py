"""`kv chaos run`: breaks a real cluster under load, and says whether the store kept its promises."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kvcli import output
from kvcli.commands.chaos_clusters import attached
from kvcli.commands.chaos_scenarios import check_scenario
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import command

if TYPE_CHECKING:
    from kvjepsen.plan import Plan
    from kvjepsen.runners.live import Status, Told

_CODES: Final = {"passed": Exit.OK, "failed": 1, "vacuous": Exit.UNKNOWN, "unknown": Exit.UNKNOWN}
_LINE_S: Final = 5.0


@command("run")
@click.option("--nodes", type=click.IntRange(1, 15), help="How many nodes.  [default: 5]")
@click.option(
    "--workload", "workloads", metavar="W,...", help="What the clients do.  [default: all; 'help' lists them]"
)
@click.option(
    "--door", "doors", metavar="D,...", help="Ways to the nodes, used by turns: http, redis.  [default: http]"
)
@click.option("--nemesis", "faults", metavar="F,...", help="What is broken; 'none', 'all'.  [default: ten kinds]")
@click.option("--time", "seconds", type=float, metavar="SECONDS", help="How long there is load.  [default: 60]")
@click.option("--seed", type=click.IntRange(0), help="Decides faults and operations.  [default: 1]")
@click.option("--rate", "rate_hz", type=float, metavar="HZ", help="Operations a second.  [default: 300]")
@click.option(
    "--held-disks",
    is_flag=True,
    default=None,
    help="Power is lost by nodes that hold back what is not synced.",
)
@click.option(
    "--sealed",
    is_flag=True,
    default=None,
    help="TLS at every door, auth enabled, disks encrypted.",
)
@click.option("--scenario", metavar="NAME|FILE", help="A plan to begin with.  ['help' lists them]")
@click.option("--mutant", metavar="NAME", help="Build a bug into the nodes: it has to be found.  ['help' lists them]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for history and report.  [default: chaos-SEED, with a number if that is there]",
)
@global_options
def run_chaos(scenario: str | None, mutant: str | None, out: Path | None, **options: Any) -> int:
    """Start a cluster, put load on it, break it again and again, and check everything that was answered.

    Writes a folder with the history and a report, and prints the verdict: passed, failed (exit code 1), or vacuous,
    if too little was done to mean anything (5). What cannot be injected here is skipped, and said so.

    With --endpoints on this line the cluster is one that runs already, all of whose nodes are to be named: then nothing
    is done to its processes, but the load is real. Its keys begin with the names of the workloads. KV_ENDPOINTS is left
    alone. If no node answers, nothing is begun (3).
    """
    from kvjepsen.access import OPEN, Access
    from kvjepsen.runners.live import run

    listed = _listed(scenario, mutant, options)
    if listed is not None:
        output.write_explained(*listed, _mode())
        return Exit.OK
    if scenario is not None:
        check_scenario(scenario)
    plan = _plan(scenario, _hunted(mutant, options))
    line = StatusLine()
    endpoints = attached()
    access = Access(settings().tls, **settings().who._asdict()) if endpoints else OPEN
    told = run(
        plan,
        _folder(out, plan.seed),
        watch=line.show,
        say=line.say,
        endpoints=endpoints,
        access=access,
        mutant=mutant,
    )
    line.end()
    tell(told)
    return _CODES[told.verdict]


def tell(told: "Told") -> None:
    """What came out, for people or for programs."""
    document = told.document
    if settings().output in (Mode.JSON, Mode.RAW):
        output.write_json({name: document[name] for name in document if name not in ("faults", "phases")})
        return
    rows = [
        [str(check["workload"] or "all"), str(check["check"]), str(check["verdict"]), _counts(check["counts"])]
        for check in document["checks"]
    ]
    output.write_rows(["workload", "check", "verdict", "of"], rows, _mode())
    operations = document["operations"]
    output.write_line(
        f"{document['verdict']}: {operations['ok']:,} operations succeeded, {operations['fail']:,} were refused or "
        f"failed, {operations['info']:,} of unknown outcome, under {len(document['faults'])} faults"
    )
    for check in document["checks"]:
        for finding in check["findings"][:3]:
            output.message(f"{check['check']}: {finding['kind']}: {finding['problem']}")
    for reason in [*document["vacuous"], *([document["problem"]] if document["problem"] else [])]:
        output.message(reason)
    output.message(f"the report is {told.directory / 'report.html'}, history and results are beside it")


def _counts(counts: dict[str, Any]) -> str:
    shown = [f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items() if isinstance(number, int)]
    return ", ".join(shown[:4])


def _listed(
    scenario: str | None, mutant: str | None, options: dict[str, Any]
) -> tuple[list[str], list[tuple[str, str]]] | None:
    """Columns and rows of what `help` was asked for, if it was."""
    from kvjepsen.nemesis import FAULTS
    from kvjepsen.plan import scenario_titles
    from kvjepsen.server_mutants import MUTANTS
    from kvjepsen.workloads import WORKLOADS

    if options["workloads"] == "help":
        return ["workload", "what its clients do"], [(each.name, each.title) for each in WORKLOADS.values()]
    if options["faults"] == "help":
        return ["fault", "what is done"], [(each.name, each.title) for each in FAULTS.values()]
    if scenario == "help":
        return ["scenario", "what happens"], list(scenario_titles().items())
    if mutant == "help":
        return listed_mutants({name: each for name, (each, _) in MUTANTS.items()})
    return None


def listed_mutants(mutants: Mapping[str, object]) -> tuple[list[str], list[tuple[str, str]]]:
    """Columns and rows of `mutants`: each with the first line of what is written at it."""
    return ["mutant", "what is wrong"], [(name, (each.__doc__ or "").split("\n")[0]) for name, each in mutants.items()]


def _hunted(mutant: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What a mutant is looked for with, unless the options say otherwise."""
    from kvjepsen.server_mutants import MUTANTS

    if mutant is None:
        return options
    if mutant not in MUTANTS:
        raise click.UsageError(f"the mutants are {', '.join(MUTANTS)}")
    hunt = MUTANTS[mutant][1]
    usual = {
        "workloads": ",".join(hunt.workloads),
        "faults": ",".join(hunt.faults),
        "nodes": hunt.nodes,
        "doors": ",".join(hunt.doors),
    }
    return {name: usual.get(name) if value is None else value for name, value in options.items()}


def _plan(scenario: str | None, options: dict[str, Any]) -> "Plan":
    from kvjepsen.nemesis import FAULTS
    from kvjepsen.plan import DEFAULT_WORKLOADS, Plan, read_scenario
    from kvjepsen.workloads import DOORS, HTTP, speaking

    over = {name: value for name, value in options.items() if value is not None}
    for name in ("workloads", "faults", "doors"):
        if name in over:
            over[name] = tuple(part.strip() for part in over[name].split(","))
    if over.get("faults") == ("none",):
        over["faults"] = ()
    if over.get("faults") == ("all",):
        over["faults"] = tuple(FAULTS)
    if scenario is None and "workloads" not in over and set(over.get("doors", ())) <= set(DOORS):
        over["workloads"] = speaking(DEFAULT_WORKLOADS, over.get("doors", (HTTP,)))
    return Plan(**over).checked() if scenario is None else read_scenario(scenario, over)


def _folder(out: Path | None, seed: int) -> Path:
    """A new one. Nothing is written over."""
    if out is not None:
        if out.exists() and any(out.iterdir()):
            raise click.UsageError(f"{out} is not empty; name another folder with --out")
        return out
    number, folder = 1, Path(f"chaos-{seed}")
    while folder.exists():
        number += 1
        folder = Path(f"chaos-{seed}-{number}")
    return folder


def _mode() -> Mode:
    return settings().output


class StatusLine:
    """Where the run stands: one line that is written over on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._spoken = -_LINE_S
        self._terminal = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.end()
        output.message(text)

    def end(self) -> None:
        """Take away the line that is written over."""
        if self._terminal:
            click.echo("\r\x1b[K", err=True, nl=False)

    def show(self, status: "Status") -> None:
        """Called a few times a second."""
        line = (
            f"{status.phase:<7}{_when(status):>11}  {status.ok:,} ok, "
            f"{status.refused:,} refused, {status.unknown:,} unknown  leader {status.leader or '-'}  "
            f"faults {status.faults}{': ' + status.fault if status.fault else ''}"
        )
        if self._terminal:
            click.echo(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False)
        elif not 0 <= status.elapsed_s - self._spoken < _LINE_S:
            self._spoken = status.elapsed_s
            output.message(line)


def _when(status: "Status") -> str:
    """How far the load is; how long the final reads take is not known before."""
    if status.phase == "final":
        return f"{status.elapsed_s:.0f} s"
    return f"{min(status.elapsed_s, status.load_s):.0f} of {status.load_s:.0f} s"

"""`kv chaos suite`: many runs, one scenario after the other, in a folder from which they go on when interrupted."""

from pathlib import Path
from typing import Any

import click

from kvcli import output
from kvcli.commands.chaos_clusters import refuse_to_attach
from kvcli.commands.chaos_run import StatusLine
from kvcli.commands.chaos_scenarios import check_scenario
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import command


@command("suite")
@click.argument("scenarios", nargs=-1, metavar="[NAME|FILE]...")
@click.option(
    "--rounds", type=click.IntRange(1), default=1, show_default=True, help="How often; each with other seeds."
)
@click.option("--time", "seconds", type=float, metavar="SECONDS", help="How long each has load.  [default: its own]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="chaos-suite",
    show_default=True,
    help="Folder of the runs; what is there is not made again.",
)
@global_options
def run_suite(scenarios: tuple[str, ...], rounds: int, seconds: float | None, out: Path) -> int:
    """Run scenarios, all that come with the harness if none is named, and say how each ended.

    Each starts a cluster of its own. 'kv chaos run --scenario help' lists them.

    Exit code 0 if every run ended as its scenario expects, 1 if one did not.
    """
    from kvjepsen.plan import scenario_names
    from kvjepsen.suite import plans, suite

    for name in scenarios:
        check_scenario(name)
    wanted = list(plans(scenarios or scenario_names(), rounds, {} if seconds is None else {"seconds": seconds}))
    refuse_to_attach("kv chaos suite")
    out.mkdir(parents=True, exist_ok=True)
    done = 0

    def each(name: str, document: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        operations = document["operations"]
        output.message(
            f"{done} of {len(wanted)}: {name}: {document['verdict']}, {operations['ok']:,} operations succeeded, "
            f"{len(document['faults'])} faults"
        )
        for reason in [*document["vacuous"], *([document["problem"]] if document["problem"] else [])]:
            output.message(f"  {reason}")

    line = StatusLine()
    summary = suite(out, wanted, each=each, watch=line.show)
    line.end()
    counted = summary.to_json()
    if settings().output in (Mode.JSON, Mode.RAW):
        output.write_json(counted)
    else:
        rows = [[name.replace("_", " "), _told(value)] for name, value in counted.items()]
        output.write_rows(["what", "value"], rows, settings().output)
    return 1 if summary.unexpected else Exit.OK


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,}" for name, count in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, float):
        return f"{value:.4%}"
    return f"{value:,}"

"""`kv bench`: measures a running cluster from here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kvcli import output
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvstore import limits

if TYPE_CHECKING:
    from kvcli.load import Load

F = TypeVar("F", bound=Callable[..., Any])


def _load_options(command: F) -> F:
    for option in (
        click.option("--level", type=click.Choice(["one", "quorum", "all"]), default="quorum", show_default=True),
        click.option("--seconds", type=click.FloatRange(0, 600, min_open=True), default=5.0, show_default=True),
        click.option("--keys", type=click.IntRange(1, 100_000), default=1_000, show_default=True, metavar="N"),
        click.option(
            "--size", type=click.IntRange(0, limits.VALUE_BYTES_MAX), default=100, show_default=True, metavar="BYTES"
        ),
        click.option(
            "--batch",
            type=click.IntRange(1, limits.BATCH_OPS_MAX),
            default=1,
            show_default=True,
            metavar="N",
            help="Operations of each call; above 1, POST /v1/batch.",
        ),
        click.option(
            "--automatic", is_flag=True, help="Let the client library put calls together that are begun at once."
        ),
        click.option("--clients", type=click.IntRange(1, limits.CLIENT_CONNECTIONS_MAX), default=16, show_default=True),
    ):
        command = option(command)
    return command


@click.group(short_help="Measure the speed of a running cluster.")
def bench() -> None:
    """Measure a running cluster.

    Put and get use keys bench/ID/NUMBER with a fresh ID, which are deleted afterwards. One process makes the load, so
    that a fast cluster is measured as this process, not as itself. Put at level one does all of it at that level, so
    that it works without a majority too.
    """


@bench.command()
@_load_options
@global_options
def put(**options: Any) -> int:
    """Put values for some seconds, with many clients at once, and tell rate and latency."""
    return _measure("put", **options)


@bench.command()
@_load_options
@global_options
def get(**options: Any) -> int:
    """Get values for some seconds, with many clients at once, and tell rate and latency."""
    return _measure("get", **options)


@bench.command(short_help="Measure how long nobody can write when the leader fails.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="KV_CLUSTER_DIR",
    show_envvar=True,
    default="kv-cluster",
    show_default=True,
    help="Directory of the cluster.",
)
@click.option("--kills", type=click.IntRange(0, 1_000), default=20, show_default=True, help="Rounds with SIGKILL.")
@click.option("--pauses", type=click.IntRange(0, 1_000), default=10, show_default=True, help="Rounds with SIGSTOP.")
@click.option("--writers", type=click.IntRange(1, 32), default=2, show_default=True, help="Writers through each node.")
@click.option(
    "--attempt",
    "attempt_s",
    type=click.FloatRange(0.02, 10),
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="How long one attempt may take, or half of it, at random.",
)
@global_options
def failover(directory: Path, kills: int, pauses: int, writers: int, attempt_s: float) -> None:
    """Kill and pause the leader of a cluster of 'kv cluster up', and tell how long nobody could write.

    From the signal to the first acknowledged write that was begun after the leader had stopped. Each node is ready
    again and has caught up before the next round.
    """
    import asyncio

    from kvcluster.supervisor import Cluster
    from kvjepsen.failover import Failover

    measured = Failover(Cluster.open(directory), writers, attempt_s, output.message)
    asyncio.run(measured.run(kills, pauses))
    document = measured.to_json()
    if settings().output in (Mode.JSON, Mode.RAW):
        output.write_json(document)
        return
    columns = ["rounds", "median_s", "p90_s", "worst_s"]
    rows = [[fault, *(_shown(document[fault][name]) for name in columns)] for fault in ("kills", "pauses")]
    output.write_rows(["FAULT", *(name.upper() for name in columns)], rows, settings().output)
    output.message(
        f"{document['writers']} writers, each at one node; an attempt ends after {attempt_s / 2:g} to {attempt_s:g} s, "
        "and the next begins at once"
    )


def _measure(
    operation: str, *, clients: int, size: int, keys: int, seconds: float, level: str, batch: int, automatic: bool
) -> int:
    import asyncio

    from kvcli.load import Load

    chosen = settings()
    load = Load(
        chosen.endpoints, operation, level, clients, size, keys, seconds, chosen.timeout_s, batch, automatic=automatic
    )
    asyncio.run(load.run())
    _tell(load, chosen.output)
    if load.left_behind is not None:
        output.message(f"the keys under {load.left_behind} could not be deleted again")
    if load.last_error is not None and not len(load.latencies_s):
        raise load.last_error
    return 0


def _tell(load: "Load", mode: Mode) -> None:
    document: dict[str, Any] = load.to_json()
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(document)
        return
    latency = document.pop("latency_ms")
    errors = document.pop("errors")
    rows = [[name.replace("_", " "), str(value)] for name, value in document.items()]
    rows += [[f"{name} ms", _shown(value)] for name, value in latency.items()]
    rows += [[f"errors: {code}", str(count)] for code, count in errors.items()]
    output.write_rows(["what", "value"], rows, mode)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)

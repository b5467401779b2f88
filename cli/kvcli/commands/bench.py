"""`kv bench`: measures a running cluster from here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kvcli import output
from kvcli.bench.doors import DOORS
from kvcli.bench.plan import STAMP_BYTES, Plan
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import Choice, group
from kvstore import limits

if TYPE_CHECKING:
    from kvcli.bench.load import Run

F = TypeVar("F", bound=Callable[..., Any])

_LEVEL = click.option("--level", type=Choice(["one", "quorum", "all"]), default="quorum", show_default=True)
_CLIENTS = click.option(
    "--clients",
    type=click.IntRange(1, limits.BENCH_CLIENTS_MAX),
    default=16,
    show_default=True,
    help="How many do one call after the other: the calls in flight.",
)
_READS = "Share of gets, in percent."
_DOOR = click.option(
    "--door",
    type=Choice(list(DOORS)),
    default="http",
    show_default=True,
    help="; ".join(f"{name}: {entry.help}" for name, entry in DOORS.items()) + ".",
)
_REDIS = click.option(
    "--redis-endpoints",
    metavar="HOST:PORT,...",
    envvar="KV_REDIS_ENDPOINTS",
    show_envvar=True,
    default="127.0.0.1:6379",
    show_default=True,
    help="The Redis doors, for --door redis.",
)


def _frame(command: F) -> F:
    """Decorator: what every load has."""
    for option in (
        click.option("--keep", is_flag=True, help="Leave the keys there."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
                     help="Decides values, and which keys are taken in which order."),
        click.option("--warmup", "warmup_s", type=click.FloatRange(0, limits.BENCH_WARMUP_S_MAX), default=0.5,
                     show_default=True, metavar="SECONDS",
                     help="The same load before, not counted but for its errors."),
        click.option("--count", type=click.IntRange(1, limits.BENCH_CALLS_MAX), metavar="N",
                     help="End after N calls, if that is before --seconds."),
        click.option("--seconds", type=click.FloatRange(0, limits.BENCH_S_MAX, min_open=True), metavar="SECONDS",
                     help=f"[default: 5; with --count {limits.BENCH_S_MAX:g}]"),
        click.option("--keys", type=click.IntRange(1, limits.BENCH_KEYS_MAX), default=1_000, show_default=True,
                     metavar="N"),
        click.option("--size", "size_bytes", type=click.IntRange(0, limits.VALUE_BYTES_MAX), default=100,
                     show_default=True, metavar="BYTES"),
    ):  # fmt: skip
        command = option(command)
    return command


@group(short_help="Measure the speed of a running cluster.")
def bench() -> None:
    """Measure a running cluster.

    The keys are bench/ID/NUMBER with a fresh ID, and are deleted afterwards. One process makes the load; when it was
    the limit, and not the cluster, it says so. Put at level one does all of it at that level, so that it works without
    a majority too. Errors are counted by code and outcome; without a single success the last one is the exit code.
    """


@bench.command(short_help="Put values, and tell rate and latency.")
@_LEVEL
@_DOOR
@_REDIS
@_CLIENTS
@_frame
@global_options
def put(**options: Any) -> int:
    """Put values, with many clients at once, and tell rate and latency."""
    return _measure("put", **options)


@bench.command(short_help="Get values, and tell rate and latency.")
@_LEVEL
@_DOOR
@_REDIS
@_CLIENTS
@_frame
@global_options
def get(**options: Any) -> int:
    """Get values, with many clients at once, and tell rate and latency."""
    return _measure("get", reads_percent=100, **options)


@bench.command()
@click.option(
    "--reads", "reads_percent", type=click.IntRange(1, 99), default=50, show_default=True, metavar="N", help=_READS
)
@_LEVEL
@_DOOR
@_REDIS
@_CLIENTS
@_frame
@global_options
def mixed(**options: Any) -> int:
    """Put and get, and tell rate and latency, of each and of both."""
    return _measure("mixed", **options)


@bench.command(short_help="Put or get many keys in each call.")
@click.option(
    "--batch",
    type=click.IntRange(1, limits.BATCH_OPS_MAX),
    default=100,
    show_default=True,
    metavar="N",
    help="Operations of each call.",
)
@click.option(
    "--reads", "reads_percent", type=click.IntRange(0, 100), default=0, show_default=True, metavar="N", help=_READS
)
@_LEVEL
@click.option(
    "--door",
    type=Choice(["batch", "redis"]),
    default="batch",
    show_default=True,
    help="batch: POST /v1/batch; redis: a pipeline of commands.",
)
@_REDIS
@_CLIENTS
@_frame
@global_options
def batch(**options: Any) -> int:
    """Put or get many keys in each call, a POST /v1/batch or a pipeline of commands; latency is that of a call."""
    return _measure("batch", **options)


@bench.command(short_help="Put while many watch.")
@click.option(
    "--watches",
    type=click.IntRange(1, limits.BENCH_WATCHES_MAX),
    default=10,
    show_default=True,
    metavar="N",
    help="Watches of all keys, spread over the endpoints.",
)
@click.option("--level", type=Choice(["quorum", "all"]), default="quorum", show_default=True)
@_DOOR
@_REDIS
@_CLIENTS
@_frame
@global_options
def watch(**options: Any) -> int:
    """Put while many watch, and tell events a second and how long after its put an event is seen.

    From the beginning of the put to the event, so the write is in it. An acknowledged put that a watch did not tell is
    an error.
    """
    if options["size_bytes"] < STAMP_BYTES:
        raise click.UsageError(f"--size: at least {STAMP_BYTES} here, for each value says when it was sent")
    return _measure("watch", **options)


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
    again and has caught up before the next round. "One client" is the longest wait of one that knows all nodes and
    sends again by itself: a silent node costs it more.
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
    rows = [
        [f"{fault}{who}", *(_shown(told[fault][name]) for name in columns)]
        for who, told in (("", document), (", one client", document["client"]))
        for fault in ("kills", "pauses")
    ]
    output.write_rows(["FAULT", *(name.upper() for name in columns)], rows, settings().output)
    output.message(
        f"{document['writers']} writers, each at one node; an attempt ends after {attempt_s / 2:g} to {attempt_s:g} s, "
        "and the next begins at once"
    )


def _measure(workload: str, **options: Any) -> int:
    import uvloop

    from kvcli.bench.fanout import FanOut
    from kvcli.bench.live import Live
    from kvcli.bench.load import Run
    from kvstore.open_files import raise_limit

    chosen = settings()
    options["redis_endpoints"] = _addresses(options["redis_endpoints"]) if options["door"] == "redis" else ()
    chosen.check()
    seconds = options.pop("seconds") or (5.0 if options["count"] is None else limits.BENCH_S_MAX)
    common = {"timeout_s": chosen.timeout_s, "tls": chosen.tls, "who": chosen.who}
    plan = Plan(workload, chosen.endpoints, seconds=seconds, **common, **options)  # type: ignore[arg-type]
    if plan.door == "http" and plan.clients > limits.CLIENT_CONNECTIONS_MAX:
        raise click.UsageError(f"--clients: at most {limits.CLIENT_CONNECTIONS_MAX} with --door http")
    if plan.door == "redis" and plan.batch * plan.size_bytes > limits.BENCH_PIPELINE_BYTES_MAX:
        raise click.UsageError(f"--batch: at most {limits.BENCH_PIPELINE_BYTES_MAX:,} bytes of values in a pipeline")
    raise_limit(plan.watches + plan.clients * len(plan.endpoints) + 256)
    run = FanOut(plan) if plan.workload == "watch" else Run(plan)
    uvloop.run(run.go(Live(plan)))
    return _tell(run, chosen.output)


def _addresses(told: str) -> tuple[str, ...]:
    from kvstore.redis.client import parsed

    addresses = tuple(filter(None, (address.strip() for address in told.split(","))))
    try:
        for address in addresses:
            parsed(address)
    except ValueError as wrong:
        raise click.UsageError(f"--redis-endpoints: {wrong}") from None
    if not addresses:
        raise click.UsageError("--redis-endpoints: name at least one HOST:PORT")
    return addresses


def _tell(run: "Run", mode: Mode) -> int:
    from kvcli.bench import document

    told = document.document(run)
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(told)
    else:
        output.write_rows(["what", "value"], document.rows(told), mode)
        if (warning := document.bottleneck(told)) is not None:
            output.message(warning)
    if run.left_behind is not None:
        reason = "are kept" if run.plan.keep else "could not be deleted again"
        output.message(
            f"the keys under {run.left_behind} {reason}; to delete them: kv delete --prefix {run.left_behind}"
        )
    if run.tally.last_error is not None and not run.tally.total:
        raise run.tally.last_error
    return 0


def _shown(value: object) -> str:
    return "-" if value is None else str(value)

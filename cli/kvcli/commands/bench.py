"""`kv bench`: measures a running cluster from here."""

from typing import TYPE_CHECKING, Any

import click

from kvcli import output
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvstore import limits

if TYPE_CHECKING:
    from kvcli.load import Load


@click.command(short_help="Measure the speed of a running cluster.")
@click.argument("operation", type=click.Choice(["put", "get"]))
@click.option("--clients", type=click.IntRange(1, limits.CLIENT_CONNECTIONS_MAX), default=16, show_default=True)
@click.option("--size", type=click.IntRange(0, limits.VALUE_BYTES_MAX), default=100, show_default=True, metavar="BYTES")
@click.option("--keys", type=click.IntRange(1, 100_000), default=1_000, show_default=True, metavar="N")
@click.option("--seconds", type=click.FloatRange(0, 600, min_open=True), default=5.0, show_default=True)
@click.option("--level", type=click.Choice(["one", "quorum", "all"]), default="quorum", show_default=True)
@global_options
def bench(operation: str, clients: int, size: int, keys: int, seconds: float, level: str) -> int:
    """Put or get values for some seconds, with many clients at once, and tell rate and latency.

    The keys are bench/ID/NUMBER with a fresh ID, and are deleted afterwards. One process makes the load, so that a
    fast cluster is measured as this process, not as itself.
    """
    if level == ("all" if operation == "get" else "one"):
        raise click.UsageError(f"level {level} is not available for {operation}")
    import asyncio

    from kvcli.load import Load

    chosen = settings()
    load = Load(chosen.endpoints, operation, level, clients, size, keys, seconds, chosen.timeout_s)
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
    rows += [[f"{name} ms", "-" if value is None else str(value)] for name, value in latency.items()]
    rows += [[f"errors: {code}", str(count)] for code, count in errors.items()]
    output.write_rows(["what", "value"], rows, mode)

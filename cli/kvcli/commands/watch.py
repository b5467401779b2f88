"""`kv watch`: every change of a key, or of the keys with a prefix, as it happens."""

from typing import TYPE_CHECKING

import click

from kvcli import completing, output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.output import Mode, printable
from kvcli.pages import command
from kvstore import limits

if TYPE_CHECKING:
    from kvstore.client import AsyncClient, WatchEvent


@command(short_help="Print every change as it happens.")
@click.argument("key", required=False, shell_complete=completing.keys)
@click.option(
    "--prefix",
    metavar="PREFIX",
    shell_complete=completing.keys,
    help="Watch every key that begins with it; empty: all keys.",
)
@click.option(
    "--from",
    "start",
    type=click.IntRange(1, limits.REVISION_MAX),
    metavar="REVISION",
    help="Begin with this revision, if it is still kept. [default: now]",
)
@click.option("--previous", is_flag=True, help="With what the key had before.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N changes.")
@global_options
def watch(key: str | None, prefix: str | None, start: int | None, previous: bool, limit: int | None) -> int:
    """Print every change of KEY, or of the keys with a prefix, until interrupted (exit code 130).

    One line for each: the revision, put or delete, the key, the value, with tabs between; with -o json a document for
    each, with -o raw only values. It goes on over failures of nodes, and prints each change once, in order. Exit code 7
    when the history does not reach back to where it begins.
    """
    if (key is None) == (prefix is None):
        raise click.UsageError("give a KEY or --prefix")
    mode = settings().output
    one, many = (None if each is None else key_bytes(each) for each in (key, prefix))
    try:
        return run_with_client(lambda client: _follow(client, one, many, start, previous, limit, mode))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


async def _follow(
    client: "AsyncClient",
    key: bytes | None,
    prefix: bytes | None,
    start: int | None,
    previous: bool,
    limit: int | None,
    mode: Mode,
) -> int:
    count = 0
    async with client.watch(key, prefix=prefix, start=start, previous=previous) as changes:
        output.message(f"watching from revision {(changes.revision or 0) + 1} on")
        async for event in changes:
            _show(event, previous, mode)
            output.flush()
            count += 1
            if count == limit:
                break
    return Exit.OK


def _show(event: "WatchEvent", previous: bool, mode: Mode) -> None:
    if mode is Mode.JSON:
        output.write_json(event.to_json())
    elif mode is Mode.RAW:
        output.write_bytes(event.value or b"")
    else:
        cells = [str(event.revision), event.kind, printable(event.key)]
        if event.value is not None:
            cells.append(printable(event.value))
        if previous and event.previous is not None:
            cells.append(f"(was {printable(event.previous.value)})")
        output.write_line("\t".join(cells))

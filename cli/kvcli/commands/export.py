"""`kv export`: writes keys and values out as ndjson."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from kvcli import completing, output
from kvcli.in_place import in_place
from kvcli.options import global_options, key_bytes, run_with_client
from kvcli.pages import Choice, command

if TYPE_CHECKING:
    from kvstore.client import AsyncClient


@command(short_help="Write keys and values out as ndjson.")
@click.argument("file", default="-", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--prefix", metavar="P", shell_complete=completing.keys, default="", help="Only keys that begin with P.")
@click.option("--level", type=Choice(["one", "quorum"]), default="quorum", show_default=True)
@global_options
def export(file: str, prefix: str, level: str) -> None:
    """Write every key and value to FILE (- is standard output), as lines that 'kv import' reads, in the order of keys.

    FILE appears under its name only when it is complete. Keys are read in pages, each at one revision of its own: what
    is written meanwhile may be in the export or not.
    """
    if file == "-":
        run_with_client(lambda client: _to_stdout(client, key_bytes(prefix), level))
        return
    with in_place(file) as target:
        keys = run_with_client(lambda client: _to_file(client, key_bytes(prefix), level, target))
    output.message(f"exported {keys:,} keys to {file}")


async def _to_stdout(client: "AsyncClient", prefix: bytes, level: str) -> None:
    from kvcli.ndjson import encode_line

    async for key, record in client.scan(prefix=prefix, level=level):
        output.write_bytes(encode_line(key, record.value))


async def _to_file(client: "AsyncClient", prefix: bytes, level: str, target: str) -> int:
    from kvcli.ndjson import encode_line
    from kvcli.progress import Progress

    with open(target, "wb") as file, Progress("exported") as progress:
        async for key, record in client.scan(prefix=prefix, level=level):
            file.write(encode_line(key, record.value))
            progress.advance(len(record.value))
        file.flush()
        with suppress(OSError):  # a pipe or a device has nothing to make durable
            os.fsync(file.fileno())
        return progress.keys

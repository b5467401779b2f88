"""`kv put`: writes one value."""

import sys

import click

from kvcli import output
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvstore import limits


@click.command(short_help="Write a value.")
@click.argument("key")
@click.argument("value")
@click.option("--level", type=click.Choice(["quorum", "all"]), default="quorum", show_default=True)
@click.option("--if-revision", type=click.IntRange(min=1), metavar="N", help="Only if N is the key's mod_revision.")
@click.option("--if-absent", is_flag=True, help="Only if there is no such key.")
@global_options
def put(key: str, value: str, level: str, if_revision: int | None, if_absent: bool) -> None:
    """Write VALUE under KEY; with - as VALUE, what stands on standard input.

    Level quorum waits for a majority, level all for every voter. A value that begins with a dash needs -- before KEY.
    A write whose outcome is unknown (exit code 5) is not sent again: read the key back first.
    """
    if if_absent and if_revision is not None:
        raise click.UsageError("--if-revision and --if-absent exclude each other")
    data = _standard_input() if value == "-" else key_bytes(value)
    name = key_bytes(key)
    written = run_with_client(
        lambda client: client.put(name, data, level=level, if_revision=if_revision, if_absent=if_absent)
    )
    output.write_write(written, settings().output)


def _standard_input() -> bytes:
    # One byte more than allowed is enough to know that it is too much.
    return sys.stdin.buffer.read(limits.VALUE_BYTES_MAX + 1)

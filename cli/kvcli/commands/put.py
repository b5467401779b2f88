"""`kv put`: writes one value."""

import sys

import click

from kvcli import completing, output
from kvcli.once import named, write_options
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.pages import command
from kvstore import limits


@command(short_help="Write a value.")
@click.argument("key", shell_complete=completing.keys)
@click.argument("value")
@write_options
@click.option("--if-absent", is_flag=True, help="Only if there is no such key.")
@click.option("--if-exists", is_flag=True, help="Only if there is such a key.")
@click.option(
    "--lease",
    type=click.IntRange(min=1),
    metavar="ID",
    shell_complete=completing.leases,
    help="The key ends with this lease ('kv lease').",
)
@global_options
def put(
    key: str,
    value: str,
    level: str,
    if_revision: int | None,
    if_absent: bool,
    if_exists: bool,
    lease: int | None,
    idempotency_key: str | None,
) -> None:
    """Write VALUE under KEY; with - as VALUE, what stands on standard input.

    Level quorum waits for a majority, level all for every voter. Level one waits for the disk of one node, needs no
    majority, and prints a receipt: 'kv receipt' tells later what became of it. It takes no condition.

    The write is sent again after failures, and applied once. If its outcome stays unknown (exit code 5), the message
    names the idempotency key that it was sent under; repeated under that key within ten minutes, it is still applied
    once. A value that begins with a dash needs -- before KEY.
    """
    conditions = if_absent + if_exists + (if_revision is not None)
    if conditions > 1:
        raise click.UsageError("--if-revision, --if-absent and --if-exists exclude each other")
    if level == "one" and conditions:
        raise click.UsageError("--level one takes no condition: its node may not know the present value")
    if level == "one" and lease is not None:
        raise click.UsageError("--level one takes no lease: its node may not know whether it is still there")
    data = _standard_input() if value == "-" else key_bytes(value)
    target = key_bytes(key)
    with named(target, level, idempotency_key) as name:
        written = run_with_client(
            lambda client: client.put(
                target,
                data,
                level=level,
                if_revision=if_revision,
                if_absent=if_absent,
                if_exists=if_exists,
                lease=lease,
                idempotency_key=name,
            )
        )
    output.write_write(written, settings().output)


def _standard_input() -> bytes:
    # One byte more than allowed is enough to know that it is too much.
    return sys.stdin.buffer.read(limits.VALUE_BYTES_MAX + 1)

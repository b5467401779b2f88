"""`kv delete`: removes one key."""

import click

from kvcli import output
from kvcli.once import named, write_options
from kvcli.options import global_options, key_bytes, run_with_client, settings


@click.command(short_help="Remove a key.")
@click.argument("key")
@write_options
@global_options
def delete(key: str, level: str, if_revision: int | None, idempotency_key: str | None) -> None:
    """Remove KEY. Exit code 1 when there is no such key, but not at level one, which does not look.

    The levels, the receipt of level one, and idempotency keys are those of 'kv put'.
    """
    if level == "one" and if_revision is not None:
        raise click.UsageError("--level one takes no condition: its node may not know the present value")
    target = key_bytes(key)
    with named(target, level, idempotency_key) as name:
        removed = run_with_client(
            lambda client: client.delete(target, level=level, if_revision=if_revision, idempotency_key=name)
        )
    output.write_write(removed, settings().output)

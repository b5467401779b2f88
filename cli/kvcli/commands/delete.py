"""`kv delete`: removes one key."""

import click

from kvcli import output
from kvcli.options import global_options, key_bytes, run_with_client, settings


@click.command(short_help="Remove a key.")
@click.argument("key")
@click.option("--level", type=click.Choice(["quorum", "all"]), default="quorum", show_default=True)
@click.option("--if-revision", type=click.IntRange(min=1), metavar="N", help="Only if N is the key's mod_revision.")
@global_options
def delete(key: str, level: str, if_revision: int | None) -> None:
    """Remove KEY. Exit code 1 when there is no such key."""
    name = key_bytes(key)
    removed = run_with_client(lambda client: client.delete(name, level=level, if_revision=if_revision))
    output.write_write(removed, settings().output)

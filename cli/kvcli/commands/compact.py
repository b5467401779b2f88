"""`kv compact`: forgets the history up to a revision."""

import click

from kvcli import output
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import command
from kvstore import limits


@command(short_help="Forget the history up to a revision.")
@click.argument("revision", type=click.IntRange(1, limits.REVISION_MAX))
@global_options
def compact(revision: int) -> None:
    """Forget the history up to REVISION: what was before it can be neither read nor watched any more.

    The store forgets by itself what is beyond its bounds. Exit code 7 if REVISION is forgotten already, or has not been
    reached.
    """
    run_with_client(lambda client: client.compact(revision))
    if settings().output is Mode.JSON:
        output.write_json({"compacted": revision})
        return
    output.message(f"compacted; what was before revision {revision} can not be read any more")

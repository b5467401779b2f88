"""`kv completion`: the script by which a shell completes words."""

import click
from click.shell_completion import get_completion_class

from kvcli import output
from kvcli.pages import Choice, command

VARIABLE = "_KV_COMPLETE"


@command(short_help="Let bash, zsh or fish complete words.")
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, levels, files, and keys and members of the running
    cluster. Bash needs version 4.4 or newer.

    The line of the example, in the file that is named behind it, installs it for every new shell. Keys and names are
    asked for with the options that stand in the line and the variables (KV_ENDPOINTS, KV_TOKEN, ...), for one second at
    most. Without an answer nothing is completed, and nothing is printed.
    """
    found = get_completion_class(shell)
    assert found is not None
    made = found(ctx.find_root().command, {}, "kv", VARIABLE)
    output.write_line((made.source_template % made.source_vars()).rstrip("\n"))

"""`kv shell`: commands line by line, typed or from a file."""

import sys

import click

from kvcli.options import global_options, settings
from kvcli.pages import Choice, command


@command(short_help="Type commands without 'kv', on open connections.")
@click.option("--level", type=Choice(["one", "quorum", "all"]), help="Level of commands that are given none.")
@click.option("--timing", is_flag=True, help="Say how long each command took.")
@global_options
@click.pass_context
def shell(ctx: click.Context, level: str | None, timing: bool) -> int:
    """Take commands line by line, without 'kv' before them: put greeting hello. Connections stay open between them.

    On a terminal there are history, and completion of commands, options and keys with Tab; Ctrl-C ends a command or
    drops a line, Ctrl-D leaves. .help lists what else there is: .level, .output, .timing, .endpoints. Without a
    terminal lines come from standard input; the first one that fails ends it with its exit code, unless .continue on
    stands before. What a command reads stands between lines: txn <<END, then lines, then END.

    The history is in $XDG_STATE_HOME/kv/history, readable by its owner only. A line that begins with a blank, or speaks
    of a password, token or secret, is not kept.
    """
    from kvcli.shell.session import Session

    chosen = settings()
    session = Session.of(ctx, chosen, level=level, timing=timing)
    if sys.stdin.isatty() and sys.stdout.isatty():
        from kvcli.shell.typed import run_typed

        return run_typed(session)
    from kvcli.shell.script import run_script

    return run_script(session, sys.stdin.buffer)

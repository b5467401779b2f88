"""The entry point of `kv`: the one place where errors become messages and exit codes."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

import click

from kvcli import output
from kvcli.catalog import COMMANDS
from kvcli.exit_codes import Exit, exit_code, explain, notes
from kvcli.kept import kept_open
from kvcli.options import global_options, settings
from kvcli.pages import CONTEXT, Group
from kvcli.situation import told
from kvcli.slips import restated, show_usage
from kvstore import __version__
from kvstore.errors import CannotConnect, KvError, LocalError

# Shells ask for completions through this variable: eval "$(_KV_COMPLETE=bash_source kv)".
_COMPLETE: Final = "_KV_COMPLETE"


class Root(Group):
    """Commands that are imported when they are called, and listed by what they are for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def write_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        before = ""
        for name, entry in COMMANDS.items():
            title = entry.group if entry.group != before else ""
            formatter.write(f"  {title:9}  {name:10}  {entry.help}\n")
            before = entry.group


@click.group(cls=Root, context_settings=CONTEXT)
@global_options
@click.version_option(__version__, prog_name="kv", message="%(prog)s %(version)s")
def cli() -> None:
    """A replicated key-value store, and everything that goes with it."""


def run(arguments: Sequence[str], **context: Any) -> int:
    """Runs one command; the exit code. `context` goes to its click.Context."""
    try:
        code = _run(arguments, context)
        output.flush()
        return code
    except BrokenPipeError:
        output.abandon_stdout()
        return Exit.READER_GONE


def _run(arguments: Sequence[str], context: Mapping[str, Any]) -> int:
    try:
        result = _dispatch(list(arguments), context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as wrong:
        show_usage(restated(wrong), in_shell=kept_open() is not None)
        return Exit.USAGE
    except click.ClickException as failed:
        failed.show()
        return failed.exit_code
    except (click.Abort, KeyboardInterrupt) as interrupt:
        said = "interrupted. A write that was under way may have taken effect, or may still."
        output.message(" ".join([said, *notes(interrupt)]))
        return Exit.INTERRUPTED
    except (KvError, LocalError) as error:
        output.message(explain(error))
        for line in told(error):
            output.continued(line)
        return exit_code(error)
    except BrokenPipeError:
        raise
    except OSError as failed:
        output.message(f"{failed.filename}: {failed.strerror}" if failed.filename else str(failed))
        return Exit.INTERNAL
    except Exception:
        # A fault of ours must not end with Python's code 1, which means "key absent" here.
        output.message(f"a fault in kv itself; please report it with what follows\n{traceback.format_exc()}")
        return Exit.INTERNAL
    return result if isinstance(result, int) else Exit.OK


def _dispatch(arguments: list[str], extra: Mapping[str, Any]) -> Any:
    # Not click's own main(): it would turn a reader that has left into exit code 1, which means "key absent" here.
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "kv", _COMPLETE, instruction)
    with cli.make_context("kv", arguments, **extra) as context:
        try:
            return cli.invoke(context)
        except CannotConnect as nobody:
            # Here, because this is where the options are still known.
            from kvcli.nobody import advise

            advise(nobody, settings().endpoints)
            raise


def _like_ctrl_c(number: int, frame: FrameType | None) -> None:
    # asyncio has a handler of its own for Ctrl-C while a loop runs: what is under way ends in order.
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)


def main() -> None:
    """The console script. SIGTERM is taken like Ctrl-C, so that whoever started processes stops them; `kv serve` has a
    handler of its own.
    """
    signal.signal(signal.SIGTERM, _like_ctrl_c)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

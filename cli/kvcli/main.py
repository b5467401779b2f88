"""The entry point of `kv`: the table of commands, and the one place where errors become messages and exit codes."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NamedTuple

import click

from kvcli import output
from kvcli.exit_codes import Exit, exit_code, explain, notes
from kvcli.options import global_options
from kvstore import __version__
from kvstore.errors import KvError, LocalError

# Shells ask for completions through this variable: eval "$(_KV_COMPLETE=bash_source kv)".
_COMPLETE: Final = "_KV_COMPLETE"


class Entry(NamedTuple):
    """A command: where it is, and its line in `kv --help`, so that the list needs no import."""

    where: str
    help: str


COMMANDS: Final[dict[str, Entry]] = {
    "serve": Entry("kvcli.commands.serve:serve", "Run a node."),
    "put": Entry("kvcli.commands.put:put", "Write a value."),
    "get": Entry("kvcli.commands.get:get", "Read a value, or list keys by prefix."),
    "delete": Entry("kvcli.commands.delete:delete", "Remove a key, or a range of keys."),
    "txn": Entry("kvcli.commands.txn:txn", "Compare, then write or read, all at one revision."),
    "watch": Entry("kvcli.commands.watch:watch", "Print every change as it happens."),
    "lease": Entry("kvcli.commands.lease:lease", "Grant, keep alive, revoke, list and show leases."),
    "lock": Entry("kvcli.commands.lock:lock", "Run a command while holding a lock."),
    "elect": Entry("kvcli.commands.elect:elect", "Run a command while leading."),
    "compact": Entry("kvcli.commands.compact:compact", "Forget the history up to a revision."),
    "receipt": Entry("kvcli.commands.receipt:receipt", "Find out what became of a write at level one."),
    "status": Entry("kvcli.commands.status:status", "Show the members of the cluster."),
    "member": Entry("kvcli.commands.member:member", "List, add, remove and recover members, hand leadership over."),
    "settings": Entry("kvcli.commands.settings:settings", "Show and change the replicated settings."),
    "auth": Entry("kvcli.commands.auth:auth", "Enable and disable users and permissions."),
    "user": Entry("kvcli.commands.user:user", "Add and remove users, give them roles."),
    "role": Entry("kvcli.commands.role:role", "Add and remove roles, give them permissions."),
    "token": Entry("kvcli.commands.auth:token", "Get a token for a user and a password."),
    "import": Entry("kvcli.commands.import_:import_", "Write many keys, from ndjson or a directory tree."),
    "export": Entry("kvcli.commands.export:export", "Write keys and values out as ndjson."),
    "snapshot": Entry("kvcli.commands.snapshot:snapshot", "Save, verify and restore backups."),
    "doctor": Entry("kvcli.commands.doctor:doctor", "Look for what is wrong, and say what to do."),
    "bench": Entry("kvcli.commands.bench:bench", "Measure the speed of a running cluster."),
    "cert": Entry("kvcli.commands.cert:cert", "Make certificates for nodes and clients."),
    "odds": Entry("kvcli.commands.odds:odds", "Tell how likely a cluster of n nodes serves."),
    "cluster": Entry("kvcli.commands.cluster:cluster", "Run a whole cluster on this machine."),
    "chaos": Entry("kvcli.commands.chaos:chaos", "Break things on purpose, and check the promises."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@global_options
@click.version_option(__version__, prog_name="kv", message="%(prog)s %(version)s")
def cli() -> None:
    """A replicated key-value store: run nodes, read and write keys, move data, find faults.

    Data goes to standard output, messages to standard error. Exit codes: 0 done; 1 key absent or condition not met;
    2 wrong usage; 3 cannot connect; 4 refused, nothing applied; 5 outcome unknown; 6 not allowed; 7 invalid, too
    large or corrupt; 8 internal error; 130 interrupted.
    """


def run(arguments: Sequence[str]) -> int:
    """Runs one command; the exit code."""
    try:
        code = _run(arguments)
        output.flush()
        return code
    except BrokenPipeError:
        output.abandon_stdout()
        return Exit.READER_GONE


def _run(arguments: Sequence[str]) -> int:
    try:
        result = _dispatch(list(arguments))
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as wrong:
        wrong.show()
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


def _dispatch(arguments: list[str]) -> Any:
    # Not click's own main(): it would turn a reader that has left into exit code 1, which means "key absent" here.
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "kv", _COMPLETE, instruction)
    with cli.make_context("kv", arguments) as context:
        return cli.invoke(context)


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

"""One write of a command, under an idempotency key: an outcome that stays unknown can be asked for again.

The key is new for each call unless it is given. Whoever ends without knowing is told what to type.
"""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from kvcli.exit_codes import of_write
from kvcli.options import key_text
from kvcli.pages import Choice
from kvstore.errors import CannotConnect, ConnectionLost, KvError, LocalError

F = TypeVar("F", bound=Callable[..., Any])


def write_options(command: F) -> F:
    """Decorator: adds `--level`, `--if-revision` and `--idempotency-key`."""
    for option in (
        click.option(
            "--idempotency-key",
            metavar="KEY",
            help="Name of this write: repeated under it, it is applied once. [default: a random one]",
        ),
        click.option(
            "--if-revision", type=click.IntRange(min=1), metavar="N", help="Only if N is the key's mod_revision."
        ),
        click.option("--level", type=Choice(["one", "quorum", "all"]), default="quorum", show_default=True),
    ):
        command = option(command)
    return command


@contextmanager
def named(key: bytes, level: str, given: str | None) -> Iterator[str]:
    """The idempotency key to use. An error whose outcome is unknown gets a note that says how to find out."""
    import secrets

    name = secrets.token_hex(16) if given is None else given
    try:
        yield name
    except CannotConnect as nobody:
        of_write(nobody)
        raise
    except (KvError, LocalError) as error:
        if isinstance(error, ConnectionLost) or (isinstance(error, KvError) and error.outcome == "unknown"):
            error.add_note(_find_out(key, level, name))
        elif isinstance(error, KvError) and error.outcome == "committed":
            error.add_note(_wait_on(name))
        raise
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(_find_out(key, level, name))
        raise


def _find_out(key: bytes, level: str, name: str) -> str:
    # What one node has taken is certainly seen only by a read that asks them all.
    reading = f"kv get {shlex.quote(key_text(key))}" + (" --level all" if level == "one" else "")
    return (
        f"To find out: {reading}; or repeat the command with --idempotency-key {shlex.quote(name)}: "
        "it is not applied a second time, and you get the first answer."
    )


def _wait_on(name: str) -> str:
    repeated = f"repeat the command with --idempotency-key {shlex.quote(name)}"
    return f"To wait for the rest, {repeated}: nothing is applied twice."

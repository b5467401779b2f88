"""A command that runs while something is held: a lock, leadership. It ends with what it stands on.

Its exit code is passed on, 128 and the signal's number if a signal ended it, as shells do. When what is held is lost,
or we are to end, the command is asked to end (SIGTERM) and killed CHILD_GRACE_S_MAX later; it is waited for in any
case, so that nothing goes on that believes it holds what it does not.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.pages import Command

CHILD_GRACE_S_MAX: Final = 10.0
_META: Final = "kvcli.child"
# As shells have them.
_NOT_RUN: Final = 126
_NOT_FOUND: Final = 127


class WithCommand(Command):
    """A command that takes another one behind `--`, whatever its options are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        if "--" in given:
            at = given.index("--")
            ctx.meta[_META], given = given[at + 1 :], given[:at]
        return super().parse_args(ctx, given)


def child_command() -> list[str]:
    """What stood behind `--`; empty if nothing did."""
    found: list[str] = click.get_current_context().meta.get(_META, [])
    return found


async def run_while_held(
    command: Sequence[str],
    environment: Mapping[str, str],
    wait_lost: Callable[[], Awaitable[Any]],
    what: str,
) -> int:
    """Runs `command` until it ends, or what is held is lost; its exit code."""
    with _told_to_end() as told:
        try:
            child = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment})
        except OSError as failed:
            output.message(f"{command[0]} could not be run: {failed.strerror}")
            return _NOT_FOUND if isinstance(failed, FileNotFoundError) else _NOT_RUN
        ended = asyncio.ensure_future(child.wait())
        lost = asyncio.ensure_future(wait_lost())
        ending = asyncio.ensure_future(told.wait())
        try:
            await asyncio.wait((ended, lost, ending), return_when=asyncio.FIRST_COMPLETED)
            if lost.done() and not ended.done():
                output.message(f"{what} is lost; ending {command[0]}, which must not go on without it")
                return Exit.UNKNOWN
            await _end(child)
            return _code(await ended)
        finally:
            lost.cancel()
            ending.cancel()
            await _end(child)


@contextmanager
def _told_to_end() -> Iterator[asyncio.Event]:
    """An event that SIGTERM sets."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        yield told
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


async def _end(child: "asyncio.subprocess.Process") -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(child.wait()), CHILD_GRACE_S_MAX)
    except TimeoutError:
        child.kill()
        await child.wait()


def _code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned

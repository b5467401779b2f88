"""A picture that is drawn again and again on a terminal, until q, Ctrl-C or the end."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from kvcli import output
from kvstore import limits

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_LEAVE: Final = frozenset(b"qQ\x03")


def interval_option(default_s: float, about: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--interval` of a command that draws, as `interval_s`."""
    return click.option(
        "--interval",
        "interval_s",
        type=click.FloatRange(limits.TOP_INTERVAL_S_MIN, limits.TOP_INTERVAL_S_MAX),
        default=default_s,
        show_default=True,
        metavar="SECONDS",
        help=about,
    )


def console() -> "Console":
    """On standard output; without colour where that is not wanted, and without a width where nobody looks."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout, no_color=output.colourless(), highlight=False, width=None if terminal else 200, soft_wrap=False
    )


async def redraw(
    next_picture: Callable[[], Awaitable["RenderableType"]], interval_s: float, frames: int | None = None
) -> None:
    """Draw what `next_picture` gives, every `interval_s`, `frames` times at most; q ends it."""
    from rich.live import Live

    stop = asyncio.Event()
    drawn = 0
    with _keys(stop), Live(console=console(), screen=True, auto_refresh=False) as live:
        while not stop.is_set() and drawn != frames:
            live.update(await next_picture(), refresh=True)
            drawn += 1
            try:
                async with asyncio.timeout(interval_s):
                    await stop.wait()
            except TimeoutError:
                continue


@contextmanager
def _keys(stop: asyncio.Event) -> Iterator[None]:
    """Sets `stop` when q is pressed. The terminal is as before afterwards."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before: Any = termios.tcgetattr(descriptor)

    def read() -> None:
        if not (data := os.read(descriptor, 64)) or _LEAVE & set(data):
            stop.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

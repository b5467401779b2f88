"""`kv top`: a cluster at work."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.live import interval_option
from kvcli.options import Settings, global_options, settings
from kvcli.output import Mode
from kvcli.pages import command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kvcli.scraping import Scraper, Told
    from kvcli.top.frame import Frame

_ONCE_S = 1.0


@command(short_help="Watch members, load and latency live.")
@interval_option(2.0, "Time between frames; rates are those of the time between.")
@click.option("--once", is_flag=True, help="One frame, of the load within a second, and end.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@global_options
def top(interval_s: float, once: bool, count: int | None) -> int:
    """Show members, roles, indices and lag, requests a second by kind and level with their latencies, answers by
    status, syncs, memory and alarms, again and again until q or Ctrl-C.

    LAG is how many entries a member has not applied yet, PENDING its writes at level one that wait, FSYNC the time that
    99 of 100 syncs took at most, DISK the room that is left. Latencies are read from buckets, from the head of a
    request to its answer being ready. What asks about the nodes themselves does not count as load.

    Off a terminal it is one frame; with -o json a line for each frame, until interrupted or --count.
    It reads /v1/cluster and each node's /metrics: with auth any user may, with metrics_private only who may admin.
    """
    chosen = settings()
    lines = chosen.output in (Mode.JSON, Mode.RAW)
    if not lines and not sys.stdout.isatty():
        once = once or count is None
    try:
        return asyncio.run(_top(chosen, interval_s, 1 if once else count, lines, min(interval_s, _ONCE_S)))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED if lines else Exit.OK


async def _top(chosen: Settings, interval_s: float, frames: int | None, lines: bool, first_s: float) -> int:
    from kvcli.live import console, redraw
    from kvcli.scraping import Scraper
    from kvcli.top.picture import picture

    scraper = Scraper(chosen, chosen.who)
    frames_of = _Frames(scraper)
    try:
        await frames_of.begin()
        await asyncio.sleep(first_s)
        if not lines and sys.stdout.isatty() and frames != 1:

            async def next_picture() -> "RenderableType":
                return picture(await frames_of.next())

            await redraw(next_picture, interval_s, frames)
            return Exit.OK
        shown = 0
        while True:
            found = await frames_of.next()
            if lines:
                output.write_json(found.to_json())
                output.flush()
            else:
                console().print(picture(found))
            shown += 1
            if shown == frames:
                return Exit.OK
            await asyncio.sleep(interval_s)
    finally:
        await scraper.close()


class _Frames:
    """One frame after the other: each from two rounds of questions."""

    def __init__(self, scraper: "Scraper") -> None:
        self._scraper = scraper
        self._before: list[Told] = []

    async def begin(self) -> None:
        """The first round. Raises CannotConnect, or why else nobody answers."""
        self._before = await self._scraper.round()
        _someone(self._before)

    async def next(self) -> "Frame":
        """The next one. Raises CannotConnect, or why else nobody answers."""
        from kvcli.top.frame import frame

        now = await self._scraper.round()
        _someone(now)
        found = frame(now, self._before)
        self._before = now
        return found


def _someone(told: "list[Told]") -> None:
    failures = [each.view for each in told if isinstance(each.view, Exception)]
    if len(failures) == len(told):
        raise failures[0]

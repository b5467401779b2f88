"""What is shown on standard error while it is measured: on a terminal a line that moves, else a line now and then."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from kvcli import output
from kvcli.bench.plan import Plan
from kvcli.bench.tally import Tally, percentiles_ms

if TYPE_CHECKING:
    from rich.progress import Progress

_REFRESH_S: Final = 0.25
_LINE_S: Final = 5.0


class Live:
    """Call it with the tally; it goes on until it is cancelled."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._seen = 0
        self._told_at = time.monotonic()
        self._counted = 0

    async def __call__(self, tally: Tally) -> None:
        if sys.stderr.isatty():
            await self._on_a_terminal(tally)
        else:
            while True:
                await asyncio.sleep(_LINE_S)
                output.message(f"{self._plan.workload}: {self.news(tally)}")

    async def _on_a_terminal(self, tally: Tally) -> None:
        with _bar() as bar:
            total = self._plan.seconds if self._plan.count is None else self._plan.count
            task = bar.add_task(self._plan.workload, total=total, news="")
            begun = time.monotonic()
            while True:
                await asyncio.sleep(_REFRESH_S)
                done = time.monotonic() - begun if self._plan.count is None else tally.calls
                bar.update(task, completed=min(done, total), news=self.news(tally))

    def news(self, tally: Tally) -> str:
        """Rate and latency since the last time that this was asked, and errors so far."""
        calls, now = tally.headline_s(), time.monotonic()
        since, count = calls[self._seen :], tally.total - self._counted
        rate = count / max(now - self._told_at, 1e-9)
        self._seen, self._counted, self._told_at = len(calls), tally.total, now
        told = percentiles_ms(since)
        latency = "" if told["p50"] is None else f", p50 {told['p50']:.2f} ms, p99 {told['p99']:.2f} ms"
        errors = sum(tally.errors.values())
        return f"{rate:,.0f}/s{latency}" + (f", {errors:,} errors" if errors else "")


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[news]}"),
        console=Console(stderr=True),
        transient=True,
    )

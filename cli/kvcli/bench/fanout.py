"""The load of `kv bench watch`: many watches of the same keys, spread over the nodes, while clients put.

Each value carries the moment of its put and a number. An event's time is from that moment until a watch of this process
has it, so the write is in it. After the last put a marker is written: a watch that has seen the marker has seen all
that came before, so an acknowledged put that it has not told by then is missing, which must never happen.
"""

import asyncio
import struct
import time
from array import array
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

import numpy

from kvcli.bench.doors import Caller
from kvcli.bench.load import Run, Show
from kvcli.bench.plan import STAMP_BYTES, Operation
from kvcli.bench.tally import Tally
from kvstore.client import AsyncClient, AsyncWatch
from kvstore.errors import KvError, LocalError

MISSING: Final = ("event_missing", None)
LATE: Final = ("event_not_in_time", None)

_STAMP: Final = struct.Struct("<dq")
_MARKER: Final = -1
_DRAIN_S: Final = 10.0

assert _STAMP.size == STAMP_BYTES


class FanOut(Run):
    """`Run` with watches beside it. The operations that count are events, each at one watch."""

    def _new_tally(self) -> Tally:
        return Tally(["event", "put"], headline=["event"])

    async def measure(self, shown: Show | None = None) -> None:
        self._number = 0
        self._current = self.tally
        self._acknowledged = array("q")
        self._watchers = [_Watcher(self) for _ in range(self.plan.watches)]
        endpoints = self.plan.endpoints
        async with AsyncExitStack() as stack:
            # Each stays with its node as long as that serves it.
            clients = [
                await stack.enter_async_context(
                    AsyncClient(
                        endpoints[turn:] + endpoints[:turn],
                        timeout_s=self.plan.timeout_s,
                        tls=self.plan.tls,
                        **self.plan.who._asdict(),
                    )
                )
                for turn in range(len(endpoints))
            ]
            self._clients = clients
            prefix = self.plan.stem.encode()
            for place, watcher in enumerate(self._watchers):
                watch = clients[place % len(clients)].watch(prefix=prefix)
                await stack.enter_async_context(watch)
                stack.callback(watcher.follow(watch).cancel)
            await super().measure(shown)

    async def _single(
        self, caller: Caller, tally: Tally, operation: Callable[[], Operation], number: Callable[[], int]
    ) -> None:
        self._number += 1
        mine, key, begun = self._number, self._key_names[number()], time.monotonic()
        await caller.put(key, _STAMP.pack(begun, mine) + self._value[STAMP_BYTES:])
        tally.done("put", begun, time.monotonic())
        self._acknowledged.append(mine)

    def tell(self, begun: float, now: float) -> None:
        """An event has come."""
        self._current.done("event", begun, now)

    def _phase_begins(self, tally: Tally) -> None:
        self._current = tally
        self._acknowledged = array("q")
        for watcher in self._watchers:
            watcher.begin()

    async def _drained(self, tally: Tally) -> None:
        """Writes the marker, waits until every watch has it, and counts what is not there."""
        marker = f"{self.plan.stem}end".encode()
        try:
            await self._clients[0].put(marker, _STAMP.pack(0.0, _MARKER))
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await asyncio.gather(*(watcher.at_marker.wait() for watcher in self._watchers))
            await self._clients[0].delete(marker)
        except (KvError, LocalError) as error:
            tally.failed(error)
        for watcher in self._watchers:
            absent = len(numpy.setdiff1d(self._acknowledged, watcher.seen))
            if absent:
                tally.errors[MISSING if watcher.at_marker.is_set() else LATE] += absent
            if watcher.failed is not None:
                tally.failed(watcher.failed)


class _Watcher:
    """One watch, and the numbers that it has told since the phase began."""

    def __init__(self, run: FanOut) -> None:
        self.seen = array("q")
        self.at_marker = asyncio.Event()
        self.failed: KvError | LocalError | None = None
        self._run = run

    def begin(self) -> None:
        """Forget what was before."""
        self.seen = array("q")
        self.at_marker.clear()

    def follow(self, watch: AsyncWatch) -> asyncio.Task[None]:
        """Take its events until the task is cancelled."""
        return asyncio.ensure_future(self._follow(watch))

    async def _follow(self, watch: AsyncWatch) -> None:
        try:
            async for event in watch:
                value = event.value
                if value is None:
                    continue
                begun, number = _STAMP.unpack_from(value)
                if number == _MARKER:
                    self.at_marker.set()
                    continue
                self.seen.append(number)
                self._run.tell(begun, time.monotonic())
        except (KvError, LocalError) as error:
            self.failed = error

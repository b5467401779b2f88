"""The load that goes on meanwhile, a watch of everything that the store takes, and the ledger that both are held to.

Each write of the load has a value of its own. So a change of one of its keys that is not in the ledger, or is seen
twice, is a write that nobody asked for; and one that was acknowledged and is never seen was lost.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from kvstore.client import AsyncClient, WatchEvent
from kvstore.errors import KvError, LocalError

PREFIX: Final = b"load/"
KEYS: Final = 200
BARRIER: Final = PREFIX + b"barrier"
SEEN_S_MAX: Final = 60.0

Allowed = Callable[[bytes], bool]


class Ledger:
    """What was asked for, and what was seen."""

    def __init__(self) -> None:
        self.asked: set[bytes] = set()
        self.acknowledged: set[bytes] = set()
        self.seen: set[bytes] = set()
        self.last: dict[bytes, bytes | None] = {}
        self.foreign: Counter[str] = Counter()
        self.unasked: list[str] = []
        self.unasked_total = 0
        self.writes = 0
        self.failed: Counter[str] = Counter()
        self.longest_gap_s = 0.0
        self._acknowledged_at: float | None = None
        self.allowed: Allowed = lambda _key: False
        self.phase = "start"

    def wrote(self, value: bytes, level: str) -> None:
        """One more write was acknowledged. At level ONE a later one may take its place, so that nobody sees it."""
        now = time.monotonic()
        if self._acknowledged_at is not None:
            self.longest_gap_s = max(self.longest_gap_s, now - self._acknowledged_at)
        self._acknowledged_at = now
        if level != "one":
            self.acknowledged.add(value)
        self.writes += 1

    def saw(self, event: WatchEvent) -> None:
        """The store has taken a change."""
        key = event.key
        if not key.startswith(PREFIX):
            self.foreign[self.phase] += 1
            if not self.allowed(key):
                self._unasked(event, "nobody may write this key now")
            return
        value = event.value
        self.last[key] = value
        if value is None:
            self._unasked(event, "the load deletes nothing")
        elif value not in self.asked:
            self._unasked(event, "the load has never written this")
        elif value in self.seen:
            self._unasked(event, "the load has written this once")
        else:
            self.seen.add(value)

    def lost(self) -> set[bytes]:
        """Acknowledged, and not seen."""
        return self.acknowledged - self.seen

    def _unasked(self, event: WatchEvent, why: str) -> None:
        self.unasked_total += 1
        if len(self.unasked) < 20:
            self.unasked.append(f"{self.phase}: {event.kind} {event.key[:80]!r} at {event.revision}: {why}")


class Load:
    """Writers at each node, and a watch. `client(endpoints)` makes a client that may do everything."""

    def __init__(
        self, client: Callable[[Sequence[str]], AsyncClient], endpoints: Sequence[str], rate_hz: float
    ) -> None:
        self.ledger = Ledger()
        self._client = client
        self._endpoints = list(endpoints)
        self._pause_s = 2 * len(endpoints) / rate_hz
        self._stop = asyncio.Event()
        self._moved = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; the watch stands when this returns."""
        begun = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._watch(begun)))
        await asyncio.wait_for(begun.wait(), SEEN_S_MAX)
        self._tasks += [asyncio.create_task(self._write(number)) for number in range(2 * len(self._endpoints))]

    async def phase(self, name: str, allowed: Allowed) -> None:
        """From here on the changes belong to `name`, whose keys are `allowed`. All that was before is seen by then."""
        await self._barrier()
        self.ledger.phase, self.ledger.allowed = name, allowed

    async def stop(self) -> None:
        """Write no more, and see what is to be seen."""
        self._stop.set()
        await asyncio.gather(*self._tasks[1:])
        await self._barrier()
        self._tasks[0].cancel()
        await asyncio.gather(self._tasks[0], return_exceptions=True)

    def check(self) -> None:
        """Raises what has ended the load, if anything has."""
        for task in self._tasks:
            if task.done() and not self._stop.is_set():
                task.result()

    async def _barrier(self) -> None:
        value = b"barrier %d" % len(self.ledger.asked)
        self.ledger.asked.add(value)
        async with self._client(self._endpoints) as client:
            await client.put(BARRIER, value, level="all", timeout_s=SEEN_S_MAX)
        self.ledger.acknowledged.add(value)
        async with asyncio.timeout(SEEN_S_MAX), self._moved:
            await self._moved.wait_for(lambda: value in self.ledger.seen)

    async def _watch(self, begun: asyncio.Event) -> None:
        async with self._client(self._endpoints) as client, client.watch(prefix=b"") as watch:
            begun.set()
            async for event in watch:
                self.ledger.saw(event)
                if event.key == BARRIER:
                    async with self._moved:
                        self._moved.notify_all()

    async def _write(self, number: int) -> None:
        ledger = self.ledger
        rng = random.Random(number)
        first = number % len(self._endpoints)
        async with self._client(self._endpoints[first:] + self._endpoints[:first]) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                value = b"%d/%d" % (number, count)
                key = PREFIX + b"%d" % rng.randrange(KEYS)
                ledger.asked.add(value)
                level = rng.choices(("quorum", "all", "one"), (8, 1, 1))[0]
                try:
                    await client.put(key, value, level=level)
                except (KvError, LocalError) as failed:
                    ledger.failed[getattr(failed, "code", type(failed).__name__)] += 1
                else:
                    ledger.wrote(value, level)
                await asyncio.sleep(rng.expovariate(1 / self._pause_s))

"""Writes many keys with many writes in flight, and lives through the loss of a leader.

Every write is an unconditional put of fixed bytes, so writing it again after an unknown outcome leaves the key as the
import wants it. That holds while nobody else writes these keys; it is the one case in which a write is repeated
blindly. Lines that name a key twice take effect in their order: a key has one write in flight at most.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from kvcli.exit_codes import Exit
from kvcli.progress import Progress
from kvcli.sources import Item, Problem
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_BACKOFF_S_MIN: Final = 0.025
_BACKOFF_S_MAX: Final = 1.0


@dataclass
class Summary:
    """What an import did.

    `fatal` is the error that ended it early; `longest_pause_s` the longest time in which no write was acknowledged.
    """

    keys: int = 0
    bytes: int = 0
    seconds: float = 0.0
    retries: int = 0
    longest_pause_s: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    fatal: KvError | LocalError | None = None

    @property
    def exit_code(self) -> int:
        """0 only if everything was written or passed over by a rule."""
        if self.fatal is not None:
            return self.fatal.exit_code
        return Exit.OK if all(problem.by_rule for problem in self.problems) else Exit.INVALID

    def to_json(self) -> dict[str, Any]:
        """The document of `-o json`."""
        return {
            "complete": self.exit_code == Exit.OK,
            "keys": self.keys,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "retries": self.retries,
            "longest_pause_seconds": round(self.longest_pause_s, 3),
            "skipped": [{"where": p.where, "reason": p.reason} for p in self.problems if p.by_rule],
            "failed": [{"where": p.where, "reason": p.reason} for p in self.problems if not p.by_rule],
        }


class Importer:
    """One import. `give_up_s`: how long one key is tried again after its first failure before the import ends."""

    def __init__(
        self, client: AsyncClient, *, level: str, in_flight: int, give_up_s: float, progress: Progress
    ) -> None:
        self._client = client
        self._level = level
        self._in_flight = in_flight
        self._give_up_s = give_up_s
        self._progress = progress
        self._turn = asyncio.Lock()
        self._busy: dict[bytes, asyncio.Event] = {}
        self._summary = Summary()
        self._last_write = 0.0

    async def run(self, items: AsyncIterator[Item | Problem]) -> Summary:
        """Writes all of `items`, or as many as could be written before an error that does not pass."""
        started = self._last_write = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._in_flight):
                    group.create_task(self._work(items))
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        self._summary.seconds = time.monotonic() - started
        self._summary.retries += self._client.retries
        return self._summary

    async def _work(self, items: AsyncIterator[Item | Problem]) -> None:
        while self._summary.fatal is None:
            async with self._turn:
                item = await anext(items, None)
                if item is None:
                    return
                if isinstance(item, Problem):
                    self._summary.problems.append(item)
                    continue
                before = self._busy.get(item.key)
                done = self._busy[item.key] = asyncio.Event()
            try:
                if before is not None:
                    await before.wait()
                await self._write(item)
            finally:
                done.set()
                if self._busy.get(item.key) is done:
                    del self._busy[item.key]

    async def _write(self, item: Item) -> None:
        first_failure: float | None = None
        tries = 0
        while self._summary.fatal is None:
            try:
                await self._client.put(item.key, item.value, level=self._level)
            except (KvError, LocalError) as error:
                now = time.monotonic()
                first_failure = first_failure or now
                if error.exit_code == Exit.INVALID:
                    self._summary.problems.append(Problem(item.where, str(error), by_rule=False))
                    return
                if error.exit_code == Exit.NOT_ALLOWED or now - first_failure >= self._give_up_s:
                    self._summary.fatal = error
                    return
                self._summary.retries += 1
                tries += 1
                ceiling = min(_BACKOFF_S_MAX, _BACKOFF_S_MIN * 2.0 ** min(tries, 10))
                await asyncio.sleep(random.uniform(_BACKOFF_S_MIN, ceiling))
            else:
                self._written(item)
                return

    def _written(self, item: Item) -> None:
        now = time.monotonic()
        self._summary.longest_pause_s = max(self._summary.longest_pause_s, now - self._last_write)
        self._last_write = now
        self._summary.keys += 1
        self._summary.bytes += len(item.value)
        self._progress.advance(len(item.value))

"""Watches: clients put and delete keys, one or several at once, while others watch all of it from the start.

One watcher a node, which knows that node only, and one that knows all. They go on by themselves through every fault. In
the end each catches up with one last change, and what it was told is written into the history.
"""

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kvjepsen.access import Access
from kvjepsen.checking import watches
from kvjepsen.records import History
from kvjepsen.workloads.workload import FINAL_S_MAX, WRITE_S_MAX, Arena, Check, Worker, Workload, check_of
from kvstore.client import AsyncClient
from kvstore.client.txn import Delete, Put, Step
from kvstore.errors import Compacted, KvError, LocalError

_CHANGES: Final = "watch/changes"
_KEYS: Final = [f"watch/key/{number}" for number in range(40)]
_PREFIX: Final = b"watch/key/"
_LAST: Final = "watch/key/last"
_TOGETHER_MAX: Final = 5
_CATCH_UP_S_MAX: Final = 60.0
_EVENTS_PER_LINE: Final = 1_000


@dataclass
class _Watcher:
    """Who watches through which nodes, and what it was told. Everything below `start` is in `told`."""

    name: str
    endpoints: Sequence[str]
    access: Access
    start: int = 1
    told: list[tuple[int, str, int | None]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    error: str | None = None

    async def follow(self, until: int | None = None) -> None:
        """For ever, or up to the change at that revision."""
        async with self.access.client(self.endpoints) as client:
            while self.error is None:
                try:
                    await self._watch(client, until)
                    return
                except Compacted as compacted:
                    begin = compacted.revision or self.start
                    self.gaps.append((self.start, begin - 1))
                    self.start = begin
                except (KvError, LocalError) as failed:
                    self.error = failed.code if isinstance(failed, KvError) else type(failed).__name__

    async def _watch(self, client: AsyncClient, until: int | None) -> None:
        watch = client.watch(prefix=_PREFIX, start=self.start, timeout_s=_CATCH_UP_S_MAX)
        try:
            async for event in watch:
                number = None if event.value is None else json.loads(event.value)
                self.told.append((event.revision, event.key.decode(), number))
                if until is not None and event.revision >= until:
                    return
        finally:
            watch.close()
            # A revision that was told in part is told again by the next watch, all of it.
            self.start = max(self.start, (watch.revision or 0) + 1)
            while self.told and self.told[-1][0] >= self.start:
                self.told.pop()


class Watchers(Workload):
    """Six clients that change keys, and the watchers."""

    name = "watch"
    title = "every change is told to every watcher once, in order, over all failures"
    workers = 6

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._changes = 0
        access = arena.access
        self._watchers = [_Watcher(f"watch-at-{name}", [url], access) for name, url in arena.nodes.items()]
        self._watchers.append(_Watcher("watch-at-all", list(arena.nodes.values()), access))

    def keys(self) -> Iterable[str]:
        return [*_KEYS, _LAST]

    async def run(self) -> None:
        following = [asyncio.create_task(watcher.follow()) for watcher in self._watchers]
        try:
            await super().run()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    async def work(self, worker: Worker) -> None:
        rng = worker.rng
        if rng.random() < 0.3:
            keys = rng.sample(_KEYS, rng.randint(2, _TOGETHER_MAX))
            puts = rng.randint(1, len(keys))
            await self._change(worker, keys[:puts], keys[puts:])
        elif rng.random() < 0.8:
            await self._change(worker, [rng.choice(_KEYS)], [])
        else:
            await self._change(worker, [], [rng.choice(_KEYS)])

    async def _change(self, worker: Worker, put: list[str], delete: list[str], timeout_s: float = WRITE_S_MAX) -> None:
        self._changes += 1
        value = {"n": self._changes, "put": put, "delete": delete}
        raw = b"%d" % self._changes
        client = worker.client
        if len(put) + len(delete) > 1:
            steps: list[Step] = [*(Put(key.encode(), raw) for key in put), *(Delete(key.encode()) for key in delete)]
            await worker.transact("change", _CHANGES, value, lambda: client.txn((), steps, timeout_s=timeout_s))
        elif put:
            key = put[0].encode()
            await worker.write("change", _CHANGES, value, lambda: client.put(key, raw, timeout_s=timeout_s))
        else:
            key = delete[0].encode()
            await worker.write("change", _CHANGES, value, lambda: client.delete(key, timeout_s=timeout_s))

    async def settle(self) -> None:
        """One more change, which every watcher waits for; then what they were told."""
        async with self.arena.access.client(list(self.arena.nodes.values()), timeout_s=FINAL_S_MAX) as client:
            worker = Worker(self.arena, "watch-last", next(iter(self.arena.nodes)), client, random.Random(0))
            await self._change(worker, [_LAST], [], FINAL_S_MAX)
        until = self.arena.last_revision if worker.served else 1
        await asyncio.gather(*(self._catch_up(watcher, until) for watcher in self._watchers))
        for watcher in self._watchers:
            self._record(watcher)

    async def _catch_up(self, watcher: _Watcher, until: int) -> None:
        try:
            async with asyncio.timeout(_CATCH_UP_S_MAX):
                await watcher.follow(until)
        except TimeoutError:
            watcher.error = f"it has not caught up within {_CATCH_UP_S_MAX:g} s"

    def _record(self, watcher: _Watcher) -> None:
        recorder = self.arena.recorder

        def line(f: str, value: object, error: str | None = None) -> None:
            told = recorder.invoke(self.arena.new_process(), f, key=f"watch/by/{watcher.name}", client=watcher.name)
            if error is None:
                recorder.ok(told, value=value)
            else:
                recorder.fail(told, error)

        for gap in watcher.gaps:
            line("compacted", gap)
        for first in range(0, len(watcher.told), _EVENTS_PER_LINE):
            line("watched", watcher.told[first : first + _EVENTS_PER_LINE])
        if watcher.error is not None:
            line("watched", None, watcher.error)

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "every watcher is told of every change once, in order, and all are told the same"
        return [check_of("watch", promise, watches.check(history), history)]

"""Everyday work: imports of many keys at once, overwriting, deleting, and range reads that must be one moment's."""

import asyncio
import json
from collections.abc import Iterable
from typing import Final

from kvjepsen.records import History
from kvjepsen.workloads.linear import linearizable
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Worker, Workload

_KEYS: Final = 60
_SHARDS: Final = 12


class Mixed(Workload):
    """Four clients. Keys lie in shards; a shard is imported, or read, as a whole."""

    name = "mixed"
    title = "imports, deletes and range reads"
    workers = 4
    plain = True

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz / 4)  # one turn is several operations
        self._values = 0
        self._generation = 0
        self._turns = 0

    def keys(self) -> Iterable[str]:
        return [key for generation in range(self._generation + 1) for key in self._all(generation)]

    def _all(self, generation: int) -> list[str]:
        return [key for shard in range(_SHARDS) for key in self._shard(generation, shard)]

    def _shard(self, generation: int, shard: int) -> list[str]:
        return [f"{self.name}/{generation}/{shard:02d}/{n}" for n in range(_KEYS // _SHARDS)]

    async def work(self, worker: Worker) -> None:
        rng = worker.rng
        self._turns += 1
        self._generation = self._turns // 600
        generation, shard = self._generation, rng.randrange(_SHARDS)
        draw = rng.random()
        if draw < 0.35:
            await self._import(worker, generation, shard)
        elif draw < 0.55:
            key = rng.choice(self._shard(generation, shard))
            raw = key.encode()
            await worker.write(
                "delete", key, None, lambda: worker.client.delete(raw, timeout_s=WRITE_S_MAX), level="quorum"
            )
        else:
            await self._range(worker, generation, shard)

    async def _import(self, worker: Worker, generation: int, shard: int) -> None:
        """All keys of a shard at once, each by a process of its own."""
        keys = self._shard(generation, shard)

        async def one(key: str) -> None:
            self._values += 1
            value, raw = self._values, key.encode()
            data = json.dumps(value).encode()
            hand = Worker(self.arena, worker.name, worker.node, worker.client, worker.rng)
            await hand.write(
                "write", key, value, lambda: worker.client.put(raw, data, timeout_s=WRITE_S_MAX), level="quorum"
            )

        await asyncio.gather(*(one(key) for key in keys))

    async def _range(self, worker: Worker, generation: int, shard: int) -> None:
        """A range read is a read of every key in it."""
        prefix = f"{self.name}/{generation}/{shard:02d}/".encode()
        hands = [
            (Worker(self.arena, worker.name, worker.node, worker.client, worker.rng), key)
            for key in self._shard(generation, shard)
        ]
        asked = asyncio.ensure_future(worker.client.range(prefix=prefix, timeout_s=READ_S_MAX))

        async def one(hand: Worker, key: str) -> None:
            async def ask() -> object:
                page = await asyncio.shield(asked)
                return dict(page.records).get(key.encode())

            await hand.read(key, ask, self.show, level="quorum")  # type: ignore[arg-type]

        await asyncio.gather(*(one(hand, key) for hand, key in hands))

    @staticmethod
    def checks(history: History) -> list[Check]:
        return [linearizable(history)]

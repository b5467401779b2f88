"""All nine combinations of levels: R + W > N, supersession, staleness at ONE, bounded staleness, sessions."""

import json
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Final

from kvjepsen.checking import levels, staleness
from kvjepsen.records import History
from kvjepsen.workloads.linear import linearizable
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Slots, Worker, Workload, check_of
from kvstore.client import AsyncClient

_LEVELS: Final = ("one", "quorum", "all")
_SLOTS: Final = 4
_OPS_PER_KEY: Final = 150
_STALENESS_MS: Final = (500, 2_000)


class Levels(Workload):
    """Eight clients; a key is written at one level, and read at every one. After a write at ONE or ALL another node is
    read at once, at the opposite level."""

    name = "levels"
    title = "reads and writes at ONE, QUORUM and ALL"
    workers = 8
    plain = True
    writes_at_one = True

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._slots = {level: Slots(f"{self.name}/{level}", _SLOTS, _OPS_PER_KEY) for level in _LEVELS}
        self._values = 0
        self._readers: dict[str, AsyncClient] = {}

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            for name, endpoint in self.arena.nodes.items():
                reader = self.arena.access.client([endpoint], sessions=False)
                self._readers[name] = await stack.enter_async_context(reader)
            await super().run()

    def keys(self) -> Iterable[str]:
        return [key for slots in self._slots.values() for key in slots.keys]

    async def work(self, worker: Worker) -> None:
        rng, client = worker.rng, worker.client
        wrote = rng.choice(_LEVELS)
        key = self._slots[wrote].take(rng)
        raw = key.encode()
        if rng.random() < 0.45:
            self._values += 1
            data = json.dumps(self._values).encode()
            result = await worker.write(
                "write",
                key,
                self._values,
                lambda: client.put(raw, data, level=wrote, timeout_s=WRITE_S_MAX),
                level=wrote,
            )
            self.accepted(worker, result)
            if result is not None and wrote != "quorum":
                await self._look_elsewhere(worker, key, "one" if wrote == "all" else "all")
            return
        level = rng.choice(_LEVELS)
        bound = rng.choice(_STALENESS_MS) if level == "one" and rng.random() < 0.3 else None
        await worker.read(
            key,
            lambda: client.get(raw, level=level, max_staleness_ms=bound, timeout_s=READ_S_MAX),
            self.show,
            level=level,
            max_staleness_ms=bound,
        )

    async def _look_elsewhere(self, worker: Worker, key: str, level: str) -> None:
        """What was written is shown by the opposite level at once, at any node."""
        node = worker.rng.choice([name for name in self.arena.nodes if name != worker.node] or [worker.node])
        hand = Worker(self.arena, f"{self.name}-at-{node}", node, self._readers[node], worker.rng)
        raw = key.encode()
        await hand.read(key, lambda: hand.client.get(raw, level=level, timeout_s=READ_S_MAX), self.show, level=level)

    @staticmethod
    def checks(history: History) -> list[Check]:
        return [
            linearizable(history),
            check_of("levels", "what one level has written, the opposite level shows", levels.check(history), history),
            check_of("staleness", "a read at ONE is no older than it asked for", staleness.check(history), history),
        ]

"""Sets: an element is a key of its own below the set's, and a read is a range, all of it at one revision."""

import json
from collections.abc import Iterable
from typing import Any, Final

from kvjepsen.checking import set_full
from kvjepsen.records import History
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Slots, Worker, Workload, check_of
from kvstore.client.results import RangePage

_SLOTS: Final = 2
_OPS_PER_SET: Final = 250


class Sets(Workload):
    """Six clients on two sets at a time."""

    name = "set"
    title = "add elements, and read all of them by range"
    workers = 6

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._slots = Slots(self.name, _SLOTS, _OPS_PER_SET)
        self._elements = 0

    def keys(self) -> Iterable[str]:
        return self._slots.keys

    async def work(self, worker: Worker) -> None:
        key, rng = self._slots.take(worker.rng), worker.rng
        if rng.random() < 0.25:
            await self._look(worker, key, "quorum", READ_S_MAX)
            return
        self._elements += 1
        element = self._elements
        raw = f"{key}/{element}".encode()
        level = "all" if rng.random() < 0.1 else "quorum"
        await worker.write(
            "add", key, element, lambda: worker.client.put(raw, b"1", level=level, timeout_s=WRITE_S_MAX), level=level
        )

    async def _look(self, worker: Worker, key: str, level: str, timeout_s: float) -> None:
        prefix = f"{key}/".encode()
        await worker.look(
            key,
            lambda: worker.client.range(prefix=prefix, limit=1_000, level=level, timeout_s=timeout_s),
            _elements,
            level=level,
        )

    async def final_read(self, worker: Worker, key: str, level: str, floor: int | None) -> None:
        await self._look(worker, key, level, READ_S_MAX)

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "an element that was added stays, is there once, and every later read shows it"
        return [check_of("set", promise, set_full.check(history), history)]


def _elements(page: RangePage) -> Any:
    assert page.cursor is None, "a set fits one page"
    return [json.loads(key.rpartition(b"/")[2]) for key, _ in page.records]

"""Counters under retries: an increment is a put, and the key's version counts. Sent again until its time is over."""

from collections.abc import Iterable
from typing import Any, Final

from kvjepsen.checking import counter
from kvjepsen.records import History
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Slots, Worker, Workload, check_of
from kvstore.model.results import Record

_SLOTS: Final = 2
_OPS_PER_COUNTER: Final = 1_000


class Counters(Workload):
    """Six clients on two counters at a time, each in a session of its own."""

    name = "counter"
    title = "increments that are sent again after every failure count once"
    workers = 6

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._slots = Slots(self.name, _SLOTS, _OPS_PER_COUNTER)

    def keys(self) -> Iterable[str]:
        return self._slots.keys

    async def work(self, worker: Worker) -> None:
        key = self._slots.take(worker.rng)
        raw = key.encode()
        if worker.rng.random() < 0.25:
            await worker.look(key, lambda: worker.client.get(raw, timeout_s=READ_S_MAX), _stands, level="quorum")
            return
        await worker.write("increment", key, 1, lambda: worker.client.put(raw, b"1", timeout_s=WRITE_S_MAX))

    async def final_read(self, worker: Worker, key: str, level: str, floor: int | None) -> None:
        raw = key.encode()
        await worker.look(
            key, lambda: worker.client.get(raw, level=level, min_revision=floor), _stands, level=level, revision=floor
        )

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "every increment that was acknowledged counts once, however often it was sent"
        return [check_of("counter", promise, counter.check(history), history)]


def _stands(record: Record | None) -> Any:
    return 0 if record is None else record.version

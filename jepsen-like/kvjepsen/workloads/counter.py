"""Counters. Over HTTP an increment is a put, sent again until its time is over, and the key's version counts. By Redis
it is an INCR or INCRBY, sent once, and the value counts: each door has counters of its own.
"""

from collections.abc import Iterable
from typing import Any, Final

from kvjepsen.checking import counter
from kvjepsen.records import History
from kvjepsen.workloads import redis
from kvjepsen.workloads.workload import (
    DOORS,
    FINAL_S_MAX,
    HTTP,
    READ_S_MAX,
    REDIS,
    WRITE_S_MAX,
    Arena,
    Check,
    Slots,
    Worker,
    Workload,
    check_of,
)
from kvstore.model.results import Record

_SLOTS: Final = 2
_OPS_PER_COUNTER: Final = 1_000
_AMOUNT_MAX: Final = 3


class Counters(Workload):
    """Six clients on two counters at a time of each door; over HTTP each in a session of its own."""

    name = "counter"
    title = "increments that are sent again after every failure count once; by Redis INCR, which is not sent again"
    workers = 6
    speaks = DOORS

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        prefixes = {HTTP: self.name, REDIS: f"{self.name}/{REDIS}"}
        self._slots = {door: Slots(prefixes[door], _SLOTS, _OPS_PER_COUNTER) for door in self.doors}

    def keys(self) -> Iterable[str]:
        return [key for slots in self._slots.values() for key in slots.keys]

    def keys_by_redis(self) -> Iterable[str]:
        return self._slots[REDIS].keys

    async def work(self, worker: Worker) -> None:
        rng, reads = worker.rng, worker.rng.random() < 0.25
        if worker.redis is not None:
            key = self._slots[REDIS].take(rng)
            if reads:
                await redis.count(worker, key, "quorum")
            else:
                await redis.increment(worker, key, rng.choice((1, 1, rng.randint(2, _AMOUNT_MAX))))
            return
        key = self._slots[HTTP].take(rng)
        raw = key.encode()
        if reads:
            await worker.look(key, lambda: worker.client.get(raw, timeout_s=READ_S_MAX), _version, level="quorum")
            return
        await worker.write("increment", key, 1, lambda: worker.client.put(raw, b"1", timeout_s=WRITE_S_MAX))

    async def final_read(self, worker: Worker, key: str, level: str, floor: int | None) -> None:
        raw = key.encode()
        await worker.look(
            key,
            lambda: worker.client.get(raw, level=level, min_revision=floor),
            _value if key.startswith(f"{self.name}/{REDIS}/") else _version,
            level=level,
            revision=floor,
        )

    async def final_read_by_redis(self, worker: Worker, key: str, level: str) -> None:
        await redis.count(worker, key, level, FINAL_S_MAX)

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "every increment that was acknowledged counts once, however often it was sent"
        return [check_of("counter", promise, counter.check(history), history)]


def _version(record: Record | None) -> Any:
    return 0 if record is None else record.version


def _value(record: Record | None) -> Any:
    return 0 if record is None else int(record.value)

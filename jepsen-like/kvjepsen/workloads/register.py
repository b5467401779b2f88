"""Registers: read, write, compare and set, delete, and create anew; over HTTP, or by Redis. Values are written once."""

import json
from collections.abc import Iterable
from typing import Final

from kvjepsen.checking import written
from kvjepsen.records import FINAL, History
from kvjepsen.workloads.linear import linearizable
from kvjepsen.workloads.redis import RedisRegister
from kvjepsen.workloads.seen import Hand, Seen
from kvjepsen.workloads.workload import (
    DOORS,
    FINAL_S_MAX,
    READ_S_MAX,
    WRITE_S_MAX,
    Arena,
    Check,
    Slots,
    Worker,
    Workload,
    check_of,
)

_SLOTS: Final = 3
_OPS_PER_KEY: Final = 200
_IMPATIENT_S: Final = 0.25
_AT_ONE_SHARE: Final = 0.2


class Register(Workload):
    """Eight clients on three keys at a time; at most 200 operations a key. All doors lead to the same keys."""

    name = "register"
    title = "read, write, compare and set, delete, create"
    workers = 8
    plain = True
    speaks = DOORS

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._slots = Slots(self.name, _SLOTS, _OPS_PER_KEY)
        self._values = 0

    def keys(self) -> Iterable[str]:
        return self._slots.keys

    async def work(self, worker: Worker) -> None:
        key, rng = self._slots.take(worker.rng), worker.rng
        hand: Hand = HttpRegister(worker) if worker.redis is None else RedisRegister(worker)
        draw = rng.random()
        level = "all" if rng.random() < 0.1 else "quorum"
        if draw < 0.4:
            if worker.redis is not None and rng.random() < _AT_ONE_SHARE:
                level = "one"
            await hand.read(key, level, _patience_s(worker))
        elif draw < 0.65:
            await hand.write(key, self._next(), level)
        elif draw < 0.92:
            seen = await hand.read(key, "quorum", _patience_s(worker))
            if seen is not None:
                await hand.cas(key, seen, self._next(), level)
        else:
            await hand.delete(key, level)

    async def final_read_by_redis(self, worker: Worker, key: str, level: str) -> None:
        await RedisRegister(worker).read(key, level, FINAL_S_MAX)

    def _next(self) -> int:
        self._values += 1
        return self._values

    @staticmethod
    def checks(history: History) -> list[Check]:
        checks = [linearizable(history)]
        if any(op.level == "one" and op.client != FINAL for op in history.operations):
            checks.append(check_of("at one", written.PROMISE, written.check(history), history))
        return checks


class HttpRegister:
    """A register as the client library has it: conditions are on revisions."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def read(self, key: str, level: str, timeout_s: float) -> Seen | None:
        worker, raw = self._worker, key.encode()
        record = await worker.read(
            key,
            lambda: worker.client.get(raw, level=level, timeout_s=timeout_s),
            lambda record: json.loads(record.value),
            level=level,
        )
        if not worker.served:
            return None
        return Seen(None, 0) if record is None else Seen(json.loads(record.value), record.mod_revision)

    async def write(self, key: str, value: int, level: str) -> None:
        client, raw, data = self._worker.client, key.encode(), json.dumps(value).encode()
        await self._worker.write(
            "write", key, value, lambda: client.put(raw, data, level=level, timeout_s=WRITE_S_MAX), level=level
        )

    async def delete(self, key: str, level: str) -> None:
        client, raw = self._worker.client, key.encode()
        await self._worker.write(
            "delete", key, None, lambda: client.delete(raw, level=level, timeout_s=WRITE_S_MAX), level=level
        )

    async def cas(self, key: str, seen: Seen, new: int, level: str) -> None:
        """On condition that nothing has happened since; a new key on condition that there is none."""
        client, raw, data = self._worker.client, key.encode(), json.dumps(new).encode()
        condition = {"if_revision": seen.revision} if seen.revision else {"if_absent": True}
        await self._worker.write(
            "cas",
            key,
            [seen.value, new],
            lambda: client.put(raw, data, level=level, timeout_s=WRITE_S_MAX, **condition),
            level=level,
            revision=seen.revision,
        )


def _patience_s(worker: Worker) -> float:
    # Who waits at a leader that stands still, and asks again, asks again after others have written elsewhere.
    return worker.rng.uniform(_IMPATIENT_S, READ_S_MAX)

"""Registers: read, write, compare and set by revision, delete, and create anew. Values are written once."""

import json
from collections.abc import Iterable
from typing import Final

from kvjepsen.records import History
from kvjepsen.workloads.linear import linearizable
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Slots, Worker, Workload

_SLOTS: Final = 3
_OPS_PER_KEY: Final = 200
_IMPATIENT_S: Final = 0.25


class Register(Workload):
    """Eight clients on three keys at a time; at most 200 operations a key."""

    name = "register"
    title = "read, write, compare and set, delete, create"
    workers = 8
    plain = True

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._slots = Slots(self.name, _SLOTS, _OPS_PER_KEY)
        self._values = 0

    def keys(self) -> Iterable[str]:
        return self._slots.keys

    async def work(self, worker: Worker) -> None:
        key, rng = self._slots.take(worker.rng), worker.rng
        client, raw, draw = worker.client, key.encode(), rng.random()
        level = "all" if rng.random() < 0.1 else "quorum"
        if draw < 0.4:
            await self._read(worker, key, level)
        elif draw < 0.65:
            value = self._next()
            await worker.write(
                "write",
                key,
                value,
                lambda: client.put(raw, json.dumps(value).encode(), level=level, timeout_s=WRITE_S_MAX),
                level=level,
            )
        elif draw < 0.92:
            await self._cas(worker, key, level)
        else:
            await worker.write(
                "delete", key, None, lambda: client.delete(raw, level=level, timeout_s=WRITE_S_MAX), level=level
            )

    async def _read(self, worker: Worker, key: str, level: str) -> tuple[int, int] | None:
        """What is there, as (revision, value); (0, 0) for nothing; None if it could not be read."""
        raw = key.encode()
        # Who waits at a leader that stands still, and asks again, asks again after others have written elsewhere.
        patience_s = worker.rng.uniform(_IMPATIENT_S, READ_S_MAX)
        record = await worker.read(
            key, lambda: worker.client.get(raw, level=level, timeout_s=patience_s), self.show, level=level
        )
        if not worker.served:
            return None
        return (0, 0) if record is None else (record.mod_revision, json.loads(record.value))

    async def _cas(self, worker: Worker, key: str, level: str) -> None:
        """Read, then write on condition that nothing has happened since; a new key on condition that there is none."""
        seen = await self._read(worker, key, "quorum")
        if seen is None:
            return
        (revision, old), new = seen, self._next()
        raw, data = key.encode(), json.dumps(new).encode()
        condition = {"if_revision": revision} if revision else {"if_absent": True}
        await worker.write(
            "cas",
            key,
            [old if revision else None, new],
            lambda: worker.client.put(raw, data, level=level, timeout_s=WRITE_S_MAX, **condition),
            level=level,
            revision=revision,
        )

    def _next(self) -> int:
        self._values += 1
        return self._values

    @staticmethod
    def checks(history: History) -> list[Check]:
        return [linearizable(history)]

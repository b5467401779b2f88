"""Lists that only grow: read, then write with one more element on condition that nothing has happened since."""

import json
from collections.abc import Iterable
from typing import Final

from kvjepsen.checking import appends
from kvjepsen.records import History
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Slots, Worker, Workload, check_of
from kvstore.client import WriteResult
from kvstore.errors import KvError, PreconditionFailed

_SLOTS: Final = 3
_OPS_PER_LIST: Final = 120
_ATTEMPTS: Final = 5


class Append(Workload):
    """Five clients on three lists at a time."""

    name = "append"
    title = "append to lists by compare and set, and read them"
    workers = 5

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._slots = Slots(self.name, _SLOTS, _OPS_PER_LIST)
        self._elements = 0

    def keys(self) -> Iterable[str]:
        return self._slots.keys

    async def work(self, worker: Worker) -> None:
        key = self._slots.take(worker.rng)
        raw = key.encode()
        if worker.rng.random() < 0.4:
            await worker.read(key, lambda: worker.client.get(raw, timeout_s=READ_S_MAX), self.show, level="quorum")
            return
        self._elements += 1
        element = self._elements
        await worker.write("append", key, element, lambda: _append(worker, raw, element), level="quorum")

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "what was appended is there once, in one order for everybody, and stays"
        return [check_of("append", promise, appends.check(history), history)]


async def _append(worker: Worker, key: bytes, element: int) -> WriteResult:
    """Again as long as others come between: each attempt that failed has certainly done nothing."""
    for attempt in range(_ATTEMPTS):
        try:
            record = await worker.client.get(key, timeout_s=READ_S_MAX)
        except KvError as error:
            error.outcome = "not_applied"  # nothing was written yet
            raise
        try:
            if record is None:
                return await worker.client.put(
                    key, json.dumps([element]).encode(), if_absent=True, timeout_s=WRITE_S_MAX
                )
            data = json.dumps([*json.loads(record.value), element]).encode()
            return await worker.client.put(key, data, if_revision=record.mod_revision, timeout_s=WRITE_S_MAX)
        except PreconditionFailed:
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")

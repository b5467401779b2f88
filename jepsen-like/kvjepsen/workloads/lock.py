"""Locks with fencing: who holds one reads a counter and writes it plus one, in a transaction with the lock's guard.

Nothing else is compared, so the counter is right only if no two holders write, and if the guard refuses who holds the
lock no more. Some holders lose theirs, as if they had stood still for too long: the lease is revoked between the read
and the write, and others get in meanwhile.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from kvjepsen.checking import counter
from kvjepsen.records import History
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Check, Worker, Workload, check_of
from kvstore.client import AsyncLock
from kvstore.client.txn import Put
from kvstore.errors import KvError, LocalError
from kvstore.model.results import Record

_COUNTERS: Final = ("lock/0", "lock/1")
_TTL_S: Final = 2.0
_WAIT_S_MAX: Final = 4.0
_ROBBED_SHARE: Final = 0.2
_ABSENT_S_MAX: Final = 0.3


class Locks(Workload):
    """Eight clients, two locks and their counters."""

    name = "lock"
    title = "who holds a lock counts; who has lost it is refused"

    def keys(self) -> Iterable[str]:
        return _COUNTERS

    async def work(self, worker: Worker) -> None:
        key = worker.rng.choice(_COUNTERS)
        if worker.rng.random() < 0.1:
            await self._look(worker, key)
            return
        lock = worker.client.lock(f"{key}/turn", _TTL_S, timeout_s=WRITE_S_MAX)
        try:
            await lock.acquire(_WAIT_S_MAX)
        except (KvError, LocalError, TimeoutError):
            worker.arena.counts["locks not got"] += 1
            return
        try:
            await self._count(worker, key, lock)
        finally:
            await lock.release()

    async def _count(self, worker: Worker, key: str, lock: AsyncLock) -> None:
        found = await self._look(worker, key)
        if not worker.served:
            return
        if worker.rng.random() < _ROBBED_SHARE:
            await self._rob(worker, lock)
        put = Put(key.encode(), b"%d" % (_stands(found) + 1))
        await worker.transact(
            "increment", key, 1, lambda: worker.client.txn([lock.guard], [put], timeout_s=WRITE_S_MAX)
        )

    async def _rob(self, worker: Worker, lock: AsyncLock) -> None:
        """Its lease ends, and it does not notice for a while."""
        lease = int(lock.key.rpartition(b"/")[2], 16)
        try:
            await worker.client.revoke(lease, timeout_s=WRITE_S_MAX)
        except (KvError, LocalError):
            return
        await asyncio.sleep(worker.rng.uniform(0, _ABSENT_S_MAX))

    async def _look(self, worker: Worker, key: str, level: str = "quorum", floor: int | None = None) -> Any:
        return await worker.look(
            key,
            lambda: worker.client.get(key.encode(), level=level, min_revision=floor, timeout_s=READ_S_MAX),
            _stands,
            level=level,
            revision=floor,
        )

    async def final_read(self, worker: Worker, key: str, level: str, floor: int | None) -> None:
        await self._look(worker, key, level, floor)

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "every increment under a lock that was acknowledged counts once, and none after the lock was lost"
        return [check_of("lock", promise, counter.check(history), history)]


def _stands(record: Record | None) -> int:
    return 0 if record is None else int(record.value)

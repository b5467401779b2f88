"""Leases: each client puts a key under one, keeps it alive for a while and reads the key, and then abandons it."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kvjepsen.checking import leases
from kvjepsen.records import History
from kvjepsen.workloads.workload import FINAL_S_MAX, READ_S_MAX, WRITE_S_MAX, Arena, Check, Worker, Workload, check_of
from kvstore.errors import KvError, LocalError

_PREFIX: Final = b"lease/"
_TTL_S: Final = (1.0, 3.0)
_ABANDONED_SHARE: Final = 0.03
_KEPT_SHARE: Final = 0.15
_GONE_S_MAX: Final = 60.0
_ASK_AGAIN_S: Final = 0.2


@dataclass(frozen=True)
class _Held:
    """A key, and the lease that it is under."""

    key: str
    lease: int
    ttl_s: float


class LeasedKeys(Workload):
    """Eight clients, each with one key at a time."""

    name = "lease"
    title = "keys stay while their leases are kept alive, and go when they are abandoned"

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._keys: list[str] = []
        self._held: dict[Worker, _Held] = {}

    def keys(self) -> Iterable[str]:
        return self._keys

    async def work(self, worker: Worker) -> None:
        held = self._held.get(worker)
        chance = worker.rng.random()
        if held is None:
            await self._begin(worker)
        elif chance < _ABANDONED_SHARE:
            del self._held[worker]
        elif chance < _ABANDONED_SHARE + _KEPT_SHARE:
            await self._keep(worker, held)
        else:
            raw = held.key.encode()
            await worker.read(held.key, lambda: worker.client.get(raw, timeout_s=READ_S_MAX), self.show, level="quorum")

    async def _begin(self, worker: Worker) -> None:
        ttl_s = worker.rng.choice(_TTL_S)
        granted_ns = time.monotonic_ns()
        try:
            lease = await worker.client.grant(ttl_s, timeout_s=WRITE_S_MAX)
        except (KvError, LocalError):
            return
        key = f"lease/{len(self._keys)}"
        self._keys.append(key)
        until_ns = granted_ns + int(ttl_s * 1e9)
        raw = key.encode()
        attached = await worker.write(
            "attach", key, until_ns, lambda: worker.client.put(raw, b"1", lease=lease, timeout_s=WRITE_S_MAX)
        )
        if attached is not None:
            self._held[worker] = _Held(key, lease, ttl_s)

    async def _keep(self, worker: Worker, held: _Held) -> None:
        until_ns = time.monotonic_ns() + int(held.ttl_s * 1e9)
        kept = await worker.keep_alive(held.key, held.lease, until_ns, READ_S_MAX)
        if kept is False:
            del self._held[worker]

    async def settle(self) -> None:
        """Until all leases that were abandoned have ended, or have had more than enough time for it."""
        until = time.monotonic() + _GONE_S_MAX
        async with self.arena.access.client(list(self.arena.nodes.values()), timeout_s=FINAL_S_MAX) as client:
            while (await client.range(prefix=_PREFIX)).count and time.monotonic() < until:
                await asyncio.sleep(_ASK_AGAIN_S)

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "a key stays while its lease is kept alive in time, and is gone in the end"
        return [check_of("lease", promise, leases.check(history), history)]

"""Lag: a follower stays dead until the others have cut the log that it needs, so that it must get a snapshot.

It needs nodes that take snapshots often (KV_SNAPSHOT_LOG_BYTES), and writes a few MiB of its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvcluster.supervisor import NotReady
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import FILLER_KEY, READY_S_MAX, Fault, Field, Struck
from kvstore import limits
from kvstore.client import AsyncClient

_LAG_S_MAX: Final = 60.0
_POLL_S: Final = 0.05
_FILLER_BYTES: Final = 3 * limits.SEGMENT_BYTES
_TAKEN: Final = "kv_snapshots_taken_total"
_INSTALLED: Final = "kv_snapshots_installed_total"


class Lag(Fault):
    """A log is cut by whole segments: it has to grow by some of them while the victim is dead."""

    name = "lag"
    title = "a follower is dead until the others have cut the log that it needs: it gets a snapshot"
    needs = frozenset({Need.PROCESSES})
    nodes_min = 3

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        leader = await field.leader()
        victim = field.rng.choice([name for name in field.names if name != leader])
        others = [name for name in field.names if name != victim]
        await field.blocking(field.cluster.kill, victim)
        struck = Struck([victim], held_s=0.0)
        try:
            yield struck
            await self._outgrow(field, others)
        finally:
            await field.blocking(field.cluster.start, victim)
        await field.blocking(field.cluster.wait_ready, [victim], READY_S_MAX)
        await self._until_above(field, victim, _INSTALLED, 0, "no snapshot was installed")
        struck.effects.append(f"{victim} installed a snapshot")

    async def _outgrow(self, field: Field, others: list[str]) -> None:
        endpoints = [field.cluster.topology.node(name).http for name in others]
        async with AsyncClient(endpoints, timeout_s=_LAG_S_MAX, tls=field.cluster.tls) as client:
            for _ in range(_FILLER_BYTES // limits.VALUE_BYTES_MAX):
                await client.put(FILLER_KEY, field.rng.randbytes(limits.VALUE_BYTES_MAX))
            before = [await field.metric(name, _TAKEN) for name in others]
            for name, taken in zip(others, before, strict=True):
                await self._until_above(field, name, _TAKEN, taken, "no snapshot was taken")
            await client.put(FILLER_KEY, b"")

    async def _until_above(self, field: Field, name: str, sample: str, bound: float, otherwise: str) -> None:
        """Ask again and again: a metric is no event to wait for."""
        deadline = time.monotonic() + _LAG_S_MAX
        while await field.metric(name, sample) <= bound:
            if time.monotonic() >= deadline:
                raise NotReady(f"{otherwise} at {name} within {_LAG_S_MAX:g} s")
            await asyncio.sleep(_POLL_S)

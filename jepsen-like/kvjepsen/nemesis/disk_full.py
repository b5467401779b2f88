"""No room on the disk of a minority, or of all. By order to `kvjepsen.faulty`: allocation fails with ENOSPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import FILLER_KEY, Fault, Field, Sign, Struck
from kvstore import limits
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError, StorageFull

_ALL_SHARE: Final = 0.4
_WRITES_MAX: Final = 80


class DiskFull(Fault):
    """It writes until a segment is full, so that room is asked for."""

    name = "disk-full"
    title = "the disks of some nodes, or of all, have no room"
    needs = frozenset({Need.PROCESSES, Need.ORDERS})
    sign = Sign.NODES
    nodes_min = 1

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = field.names if field.rng.random() < _ALL_SHARE else field.minority()
        struck = Struck(victims, effects=[f"no room at {', '.join(victims)}"])
        try:
            await field.order(victims, full=True)
            yield struck
            refused = await _fill(field)
            if refused:
                struck.effects.append("507 storage_full")
        finally:
            await field.order(victims, full=False)


async def _fill(field: Field) -> bool:
    """Write until it is refused, or enough: whether it was."""
    async with AsyncClient(field.cluster.topology.endpoints, timeout_s=1.0, tls=field.cluster.tls) as client:
        for _ in range(_WRITES_MAX):
            try:
                await client.put(FILLER_KEY, field.rng.randbytes(limits.VALUE_BYTES_MAX))
            except StorageFull:
                return True
            except (KvError, LocalError):
                continue
    return False

"""A slow disk: every fsync of some nodes takes 20 to 150 ms longer. By order to `kvjepsen.faulty`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck

_SLOW_MS: Final = (20, 150)
_SUM: Final = "kv_journal_sync_seconds_sum"


class SlowSync(Fault):
    """A minority, or the leader."""

    name = "slow-fsync"
    title = "every fsync of some nodes takes 20 to 150 ms longer"
    needs = frozenset({Need.PROCESSES, Need.ORDERS})
    sign = Sign.NODES
    nodes_min = 1

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = await field.leader_or_minority()
        struck = Struck(victims)
        before = [await field.metric(name, _SUM) for name in victims]
        try:
            await field.order(victims, slow_sync_ms=list(_SLOW_MS))
            yield struck
        finally:
            await field.order(victims, slow_sync_ms=[0, 0])
        spent = sum([await field.metric(name, _SUM) for name in victims]) - sum(before)
        if spent > _SLOW_MS[0] / 1_000:
            struck.effects.append(f"{spent:.2f} s spent in fsync")

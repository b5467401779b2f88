"""A rolling restart: one node after the other is asked to end, and started again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import READY_S_MAX, Fault, Field, Struck


class Rolling(Fault):
    """It lasts as long as it takes."""

    name = "rolling"
    title = "SIGTERM and a new start for every node, one after the other"
    needs = frozenset({Need.PROCESSES})

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        order = field.rng.sample(field.names, len(field.names))
        yield Struck(order, held_s=0.0)
        for name in order:
            await field.blocking(field.cluster.restart, name, READY_S_MAX)

"""Stall and late release: nothing passes between any two nodes, no connection breaks, and then all of it arrives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvcluster import faults
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck


class Stall(Fault):
    """A random half of the directed links."""

    name = "stall"
    title = "links stand still without breaking, and release everything late"
    needs = frozenset({Need.PROCESSES, Need.LINKS})
    sign = Sign.LINKS

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        topology, rng = field.cluster.topology, field.rng
        chosen = rng.sample(field.links, max(1, len(field.links) // 2))
        try:
            await field.blocking(faults.stall, topology, chosen)
            yield Struck(field.names, f"{len(chosen)} of {len(field.links)} links")
        finally:
            await field.blocking(faults.heal, topology)

"""Connections between the nodes are reset, again and again, and come back at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvcluster import faults
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck

_TIMES: Final = (3, 12)
_PAUSE_S: Final = 0.08


class Reset(Fault):
    """Some field.links, a few times."""

    name = "reset"
    title = "connections between nodes are reset, many times in a row"
    needs = frozenset({Need.PROCESSES, Need.LINKS})
    sign = Sign.LINKS

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        topology, rng = field.cluster.topology, field.rng
        times = rng.randint(*_TIMES)
        yield Struck(field.names, f"{times} times", held_s=0.0)
        for _ in range(times):
            await field.blocking(faults.reset, topology, rng.sample(field.links, rng.randint(1, len(field.links))))
            await field.blocking(faults.heal, topology)
            await asyncio.sleep(rng.uniform(0, 2 * _PAUSE_S))

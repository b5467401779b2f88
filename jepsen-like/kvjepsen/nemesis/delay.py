"""Delay: everything between the nodes takes longer, up to about half of an election timeout."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvcluster import faults
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck

_DELAY_MS: Final = (5, 120)


class Delay(Fault):
    """Links of one node, or all."""

    name = "delay"
    title = "messages between the nodes take 5 to 120 ms longer"
    needs = frozenset({Need.PROCESSES, Need.LINKS})
    sign = Sign.LINKS

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        topology = field.cluster.topology
        milliseconds, victim = field.rng.randint(*_DELAY_MS), field.any()
        pairs = [pair for pair in field.links if victim in pair]
        everywhere = field.rng.random() < 0.5
        try:
            await field.blocking(faults.delay, topology, None if everywhere else pairs, milliseconds)
            yield Struck(field.names if everywhere else [victim], f"{milliseconds} ms")
        finally:
            await field.blocking(faults.heal, topology)

"""SIGKILL: for anybody, for whoever leads, for all at once. They are started again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Aimed, AtLeader, Field, Sign, Struck


class _Killing(Aimed):
    needs = frozenset({Need.PROCESSES})
    sign = Sign.NODES
    nodes_min = 1

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = await self.victims(field)
        try:
            for victim in victims:
                await field.blocking(field.cluster.kill, victim)
            yield Struck(victims)
        finally:
            for victim in victims:
                await field.blocking(field.cluster.start, victim)


class Kill(_Killing):
    """A minority."""

    name = "kill"
    title = "SIGKILL for a minority of the nodes, started again after a while"


class KillLeader(AtLeader, _Killing):
    """Whoever leads."""

    name = "kill-leader"
    title = "SIGKILL for the leader, started again after a while"


class KillAll(_Killing):
    """The whole cluster: only what is on the disks remains."""

    name = "kill-all"
    title = "SIGKILL for every node, all started again"

    async def victims(self, field: Field) -> list[str]:
        return field.rng.sample(field.names, len(field.names))

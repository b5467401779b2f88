"""SIGSTOP and SIGCONT: a process that stands still, and believes afterwards that no time has passed."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Struck


class _Pausing(Fault):
    needs = frozenset({Need.PROCESSES})

    @abstractmethod
    async def victims(self, field: Field) -> list[str]:
        """Who is paused."""

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = await self.victims(field)
        try:
            stopped = [victim for victim in victims if await field.blocking(field.cluster.pause, victim)]
            yield Struck(victims, effects=[f"stopped: {', '.join(stopped)}"] if stopped else [])
        finally:
            for victim in victims:
                await field.blocking(field.cluster.resume, victim)


class Pause(_Pausing):
    """A minority."""

    name = "pause"
    title = "SIGSTOP for a minority of the nodes, SIGCONT after a while"

    async def victims(self, field: Field) -> list[str]:
        return field.minority()


class PauseLeader(_Pausing):
    """Whoever leads: it wakes up and still thinks so."""

    name = "pause-leader"
    title = "SIGSTOP for the leader, SIGCONT after a while"

    async def victims(self, field: Field) -> list[str]:
        return [await field.leader_or_any()]

"""SIGSTOP and SIGCONT: a process that stands still, and believes afterwards that no time has passed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import HELD_LONG_S, Aimed, AtLeader, Field, Sign, Struck


class _Pausing(Aimed):
    needs = frozenset({Need.PROCESSES})
    held_s = HELD_LONG_S
    sign = Sign.NODES

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


class PauseLeader(AtLeader, _Pausing):
    """Whoever leads: it wakes up and still thinks so."""

    name = "pause-leader"
    title = "SIGSTOP for the leader, SIGCONT after a while"

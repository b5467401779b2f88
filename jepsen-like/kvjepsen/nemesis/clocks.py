"""Wall clocks that jump, or run too fast or too slow. Monotonic time is left alone. By order to `kvjepsen.faulty`."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck

_JUMP_MS: Final = 8_000
_DRIFT: Final = 0.25


class _Clocks(Fault):
    needs = frozenset({Need.PROCESSES, Need.ORDERS})
    sign = Sign.NODES
    nodes_min = 1

    @abstractmethod
    def wrong(self, field: Field) -> tuple[float, float]:
        """How far ahead the clock is, in ms, and how fast it runs."""

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = await field.leader_or_minority()
        offset_ms, rate = self.wrong(field)
        try:
            await field.order(victims, clock=[offset_ms, rate])
            told = f"{offset_ms / 1_000:+.1f} s" if offset_ms else f"{rate - 1:+.0%}"
            yield Struck(victims, told, effects=[f"the clock of {', '.join(victims)} was wrong"])
        finally:
            await field.order(victims, clock=[0.0, 1.0])


class ClockJump(_Clocks):
    """Forwards or backwards, and back again."""

    name = "clock-jump"
    title = "the wall clock of some nodes jumps by up to 8 s, and back"

    def wrong(self, field: Field) -> tuple[float, float]:
        return field.rng.uniform(0.1, 1) * _JUMP_MS * field.rng.choice((-1, 1)), 1.0


class ClockDrift(_Clocks):
    """Too fast or too slow."""

    name = "clock-drift"
    title = "the wall clock of some nodes runs up to 25 % too fast or too slow"

    def wrong(self, field: Field) -> tuple[float, float]:
        return 0.0, 1.0 + field.rng.uniform(0.2, 1) * _DRIFT * field.rng.choice((-1, 1))

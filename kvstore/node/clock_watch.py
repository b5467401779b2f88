"""The leader's look at the clocks: its own is what stamps and expiry go by, so it must not lead with a wrong one.

Once a second, and before it stamps its first entry, it asks every voter for its wall clock. The difference to its own
is known up to half the way there and back. If its own is further from the median of all voters than the replicated
drift, and a voter's is not, leadership is handed to that one; while a clock is that far off, an alarm stands. What
peers tell of stamps is merged on the way.
"""

import asyncio
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import structlog

from kvstore.clock import Clock
from kvstore.errors import BadRequest, KvError
from kvstore.model.stamp import Stamp
from kvstore.node.alarms import CLOCK_DRIFT, Alarm, Alarms
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.site import Site

log = structlog.get_logger()

CALL_CLOCK: Final = "clock"
LOOK_EVERY_S: Final = 1.0
ANSWER_S_MAX: Final = 0.5
FIRST_LOOK_S_MAX: Final = 0.1
# A way there and back that takes longer tells too little about the other clock.
ROUND_TRIP_PART_OF_DRIFT: Final = 0.5


class ClockWatch:
    """Runs on every node, acts on the leader."""

    def __init__(
        self, site: Site, clock: Clock, hybrid: HybridClock, alarms: Alarms, drift_ms_max: Callable[[], int]
    ) -> None:
        self._site = site
        self._clock = clock
        self._hybrid = hybrid
        self._alarms = alarms
        self._drift_ms_max = drift_ms_max
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.offsets_ms: dict[str, float] = {}
        self._undecided_until: float | None = None
        self._led = False
        site.calls.serve(CALL_CLOCK, self._serve)

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._site.loop.call_later(LOOK_EVERY_S, self._look)

    def close(self) -> None:
        """Stop."""
        for running in (self._timer, self._task):
            if running is not None:
                running.cancel()

    @property
    def undecided(self) -> bool:
        """Whether this leader has not compared its clock with a majority's yet: it stamps nothing before, for a while.

        Log time never goes back: one entry with a clock an hour ahead would expire every session.
        """
        if self._undecided_until is not None and self._site.loop.time() > self._undecided_until:
            self._undecided_until = None
        return self._undecided_until is not None

    def leadership_changed(self) -> None:
        """This node begins to lead, or ceases to."""
        leads = self._site.engine.leads
        if leads and not self._led:
            self._undecided_until = self._site.in_s(FIRST_LOOK_S_MAX)
            self._site.loop.call_later(FIRST_LOOK_S_MAX + 0.001, self._site.engine.kick)
            if self._task is not None:
                self._task.cancel()
            self._task = self._site.loop.create_task(self._compare())
        self._led = leads

    def _look(self) -> None:
        self.start()
        if not self._site.engine.leads:
            self._alarms.keep(CLOCK_DRIFT, ())  # whoever leads now looks for itself
        elif self._task is None:
            self._task = self._site.loop.create_task(self._compare())

    async def _compare(self) -> None:
        task = self._task
        try:
            engine = self._site.engine
            self.offsets_ms = {engine.name: 0.0}
            self._decide()
            others = [name for name in engine.configuration.voters if name != engine.name]
            await asyncio.gather(*(self._ask(name) for name in others))
            self._judge()
        finally:
            if self._task is task:
                self._task = None

    def _decide(self) -> None:
        """As soon as a majority's clocks are known, this leader may go on, or hands over."""
        if self.undecided and 2 * len(self.offsets_ms) > len(self._site.engine.configuration.voters):
            self._undecided_until = None
            self._judge()
            self._site.engine.kick()

    def _judge(self) -> None:
        """`offsets_ms` are relative to this node's clock."""
        engine, drift_ms = self._site.engine, self._drift_ms_max()
        if not engine.leads or 2 * len(self.offsets_ms) <= len(engine.configuration.voters):
            return
        self._alarms.keep(CLOCK_DRIFT, engine.configuration.voters)
        middle = median(self.offsets_ms.values())
        off = {name: offset - middle for name, offset in self.offsets_ms.items() if abs(offset - middle) > drift_ms}
        for name in self.offsets_ms:
            if name in off:
                detail = (
                    f"the clock of {name} is {off[name]:+.0f} ms from the median; at most {drift_ms} ms are allowed"
                )
                self._alarms.set(Alarm(CLOCK_DRIFT, name, detail))
            else:
                self._alarms.clear(CLOCK_DRIFT, name)
        if engine.name not in off:
            return
        status = engine.status()
        right = [name for name in self.offsets_ms if name not in off and name in status.match]
        if right:
            target = max(right, key=lambda name: (status.match[name], name))
            log.warning("clock_off", offset_ms=off[engine.name], hands_over_to=target)
            engine.transfer(target, lambda _error: None)

    async def _ask(self, name: str) -> None:
        began_s, began_ms = self._clock.monotonic(), self._clock.wall_ms()
        try:
            answer = await self._site.calls.call(name, CALL_CLOCK, [], self._site.in_s(ANSWER_S_MAX))
        except (Expired, NotSent, PeerGone, KvError):
            return
        match answer:
            case [int(wall_ms), int(ms), int(counter)]:
                pass
            case _:
                return
        took_ms = (self._clock.monotonic() - began_s) * 1000
        if took_ms > ROUND_TRIP_PART_OF_DRIFT * self._drift_ms_max():
            return
        self._hybrid.heard(Stamp(ms, counter, name, 0))
        self.offsets_ms[name] = float(wall_ms - (began_ms + took_ms / 2))
        self._decide()

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        if body:
            raise BadRequest("a question for the clock has no body")
        highest = self._hybrid.highest()
        return [self._clock.wall_ms(), highest.ms, highest.counter]

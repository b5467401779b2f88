"""The load of `kv bench put|get|mixed|batch`: clients that each do one call after the other, and the frame that a watch
uses too: look at the cluster, prepare, warm up, measure, delete.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from kvcli.bench import keys
from kvcli.bench.doors import Caller, open_door
from kvcli.bench.plan import Operation, Plan
from kvcli.bench.tally import Tally
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

Show = Callable[[Tally], Awaitable[None]]

ERROR_PAUSE_S: Final = 0.02


class Run:
    """One measurement, and what came of it. `nodes`: the members of the cluster; `leader`: who led before it; `warmed`:
    the operations of the warm-up.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = self._new_tally()
        self.warmed = 0
        self.nodes = 0
        self.leader: str | None = None
        self.left_behind: str | None = None
        self._key_names = plan.key_names()
        self._value = plan.value()

    async def go(self, shown: Show | None = None) -> None:
        """Measures. `shown` runs meanwhile, and is cancelled at the end.

        Raises KvError or LocalError when looking or preparing fails; what fails while it is measured is counted.
        """
        plan = self.plan
        who = plan.who._asdict()
        async with AsyncClient(plan.endpoints, timeout_s=plan.timeout_s, tls=plan.tls, **who) as client:
            view = await client.cluster()
            self.nodes, self.leader = len(view.members), view.leader
            try:
                if plan.needs_keys:
                    await keys.prepare(client, plan)
                await self.measure(shown)
            finally:
                await self._clean_up(client)

    def _new_tally(self) -> Tally:
        if self.plan.workload == "batch":
            return Tally(["batch"])
        share = self.plan.reads_percent
        return Tally([name for name, there in (("put", share < 100), ("get", share > 0)) if there])

    async def measure(self, shown: Show | None = None) -> None:
        """Warm-up and measurement alone, on keys that are there if they are needed."""
        async with open_door(self.plan) as callers:
            if self.plan.warmup_s:
                warm = self._new_tally()
                await self._phase(callers, warm, self.plan.warmup_s)
                # What goes wrong is not forgotten because it went wrong early.
                self.tally.errors.update(warm.errors)
                self.warmed = warm.total
            showing = asyncio.ensure_future(shown(self.tally)) if shown is not None else None
            try:
                await self._phase(callers, self.tally, self.plan.seconds)
            finally:
                if showing is not None:
                    showing.cancel()
                    await asyncio.gather(showing, return_exceptions=True)

    async def _phase(self, callers: Sequence[Caller], tally: Tally, seconds: float) -> None:
        self._phase_begins(tally)
        tally.begin()
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.clients):
                group.create_task(self._work(callers[number % len(callers)], number, tally, until))
        await self._drained(tally)
        tally.end()

    def _phase_begins(self, tally: Tally) -> None:
        """What belongs to an earlier phase is over."""

    async def _drained(self, tally: Tally) -> None:
        """Waits for what follows the last call."""

    async def _work(self, caller: Caller, number: int, tally: Tally, until: float) -> None:
        plan, clock = self.plan, time.monotonic
        call = self._batch if plan.workload == "batch" else self._single
        next_operation, next_key = plan.operations(number), plan.key_numbers(number)
        while clock() < until and tally.calls < plan.calls_max:
            tally.calls += 1
            try:
                await call(caller, tally, next_operation, next_key)
            except (KvError, LocalError) as error:
                tally.failed(error)
                await asyncio.sleep(ERROR_PAUSE_S)

    async def _single(
        self, caller: Caller, tally: Tally, operation: Callable[[], Operation], number: Callable[[], int]
    ) -> None:
        name, key, begun = operation(), self._key_names[number()], time.monotonic()
        if name == "put":
            await caller.put(key, self._value)
        else:
            await caller.get(key)
        tally.done(name, begun, time.monotonic())

    async def _batch(
        self, caller: Caller, tally: Tally, operation: Callable[[], Operation], number: Callable[[], int]
    ) -> None:
        together = [(operation(), self._key_names[number()]) for _ in range(self.plan.batch)]
        begun = time.monotonic()
        errors = await caller.batch(together, self._value)
        ended = time.monotonic()
        for error in errors:
            tally.failed(error)
        if len(errors) < len(together):
            tally.done("batch", begun, ended, len(together) - len(errors))
        else:
            await asyncio.sleep(ERROR_PAUSE_S)

    async def _clean_up(self, client: AsyncClient) -> None:
        if self.plan.keep:
            self.left_behind = self.plan.stem
            return
        try:
            await keys.remove(client, self.plan)
        except (KvError, LocalError):
            self.left_behind = self.plan.stem

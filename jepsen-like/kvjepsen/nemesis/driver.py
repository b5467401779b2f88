"""Who inflicts faults, with quiet times between, each kind once before any comes again: one at a time, or two at once.

A fault counts once its effect was seen: an election, another process id, connections reset, bytes held up, writes that
were refused, or what the fault itself has watched. One without any effect has shown nothing.

`kill+delay` is two at once: one on the nodes, and one on the network between them. Then an election proves neither, and
each has to be seen by what only it can bring about. Both together choose no more than a minority, where each chooses
one at all (`Field.minority`): what a single kind does to all nodes or to a majority it does here, too.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kvcluster import faults
from kvcluster.faults import NoProxies
from kvjepsen.nemesis.fault import READY_S_MAX, Fault, Field, Sign, Struck
from kvjepsen.nemesis.kinds import FAULTS

_FOUND_S_MAX: Final = 5.0
_SHOWN_S: Final = 0.5


@dataclass
class Injury:
    """One fault as it was inflicted, until every node was ready again (`to_ns`, 0 before), by `time.monotonic_ns`."""

    fault: str
    title: str
    nodes: list[str]
    detail: str
    from_ns: int
    to_ns: int = 0
    effects: list[str] = field(default_factory=list)


class _Signs(NamedTuple):
    """What can be seen from outside, before and after a fault."""

    term: int
    leader: str | None
    pids: dict[str, int | None]
    resets: int
    held_bytes: int
    unserved: int


class Nemesis:
    """`done` counts the faults by name, `injuries` tells of each. `watch` hears of each when it begins and ends."""

    def __init__(
        self,
        field: Field,
        *,
        watch: Callable[[Injury], None] = lambda injury: None,
        unserved: Callable[[], int] = lambda: 0,
    ) -> None:
        """`unserved`: how many operations were refused, or got no answer, so far."""
        self.done: Counter[str] = Counter()
        self.injuries: list[Injury] = []
        self._field = field
        self._watch = watch
        self._unserved = unserved

    @asynccontextmanager
    async def prepared(self, names: Iterable[str]) -> AsyncIterator[None]:
        """What these faults need is there: to be entered before the load begins, and left after all is read."""
        async with AsyncExitStack() as stack:
            for part in dict.fromkeys(part for name in names for part in parts(name)):
                await stack.enter_async_context(FAULTS[part].prepared(self._field))
            yield

    async def run(self, names: Sequence[str], calm_s: tuple[float, float], stop: asyncio.Event) -> None:
        """Faults and quiet times in turn until `stop` is set. Raises NotReady if the cluster does not recover."""
        rng = self._field.rng
        left: list[str] = []
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), rng.uniform(*calm_s))
            except TimeoutError:
                left = left or rng.sample(names, len(names))
                await self.inflict(left.pop(), stop)

    async def inflict(self, name: str, stop: asyncio.Event | None = None) -> list[Injury]:
        """One fault, or the two of `name`, from the beginning until every node is ready again; shorter if `stop` is
        set, but long enough to be seen. Raises NotReady.
        """
        before = await self._signs()
        faults = [FAULTS[part] for part in parts(name)]
        struck: list[Struck] = []
        injuries: list[Injury] = []
        self._field.hit.clear()
        try:
            async with AsyncExitStack() as stack:
                for fault in faults:
                    struck.append(await stack.enter_async_context(fault.strike(self._field)))
                    self._field.hit.update(struck[-1].nodes)
                    injuries.append(self._begin(fault, struck[-1], before.leader))
                held_s = self._field.rng.uniform(*faults[0].held_s) if struck[0].held_s is None else struck[0].held_s
                # What ends at once, because the run was over when it began, has no time to show any effect.
                short_s = min(held_s, _SHOWN_S)
                await asyncio.sleep(short_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for((stop or asyncio.Event()).wait(), held_s - short_s)
            cluster = self._field.cluster
            await self._field.blocking(cluster.wait_ready, cluster.topology.names, READY_S_MAX)
        finally:
            for injury in injuries:
                injury.to_ns = time.monotonic_ns()
            self._field.hit.clear()
        after = await self._signs()
        for fault, what, injury in zip(faults, struck, injuries, strict=True):
            injury.effects = [*what.effects, *_seen(before, after, fault.sign if len(faults) > 1 else Sign.ANY)]
            self.done[injury.fault] += 1
            self._watch(injury)
        return injuries

    def _begin(self, fault: Fault, struck: Struck, leader: str | None) -> Injury:
        named = [f"{node} (leader)" if node == leader else node for node in struck.nodes]
        detail = ", ".join([*named, struck.detail] if struck.detail else named)
        injury = Injury(fault.name, fault.title, struck.nodes, detail, time.monotonic_ns())
        self.injuries.append(injury)
        self._field.progress(f"{fault.name} {detail}")
        self._watch(injury)
        return injury

    async def _signs(self) -> _Signs:
        cluster = self._field.cluster
        deadline = time.monotonic() + _FOUND_S_MAX
        views = await self._field.blocking(cluster.views)
        while not any(view and view["leader"] for view in views.values()) and time.monotonic() < deadline:
            views = await self._field.blocking(cluster.views)
        newest = max(filter(None, views.values()), key=lambda view: int(view["term"]), default=None)
        pids = {}
        for name in cluster.topology.names:
            process = cluster.process(name)
            pids[name] = None if process is None else process.pid
        counts = {"resets_total": 0, "held_bytes_total": 0}
        if cluster.topology.links:
            with suppress(NoProxies):
                counts = await self._field.blocking(faults.link_counts, cluster.topology)
        return _Signs(
            0 if newest is None else int(newest["term"]),
            None if newest is None else newest["leader"],
            pids,
            counts["resets_total"],
            counts["held_bytes_total"],
            self._unserved(),
        )


def parts(name: str) -> list[str]:
    """The one or two kinds of faults that a plan names by one word."""
    return name.split("+")


def cannot_overlap(name: str) -> str:
    """Why these two cannot be there at once; empty if they can, or if it is only one."""
    faults = [FAULTS[part] for part in parts(name)]
    if len(faults) == 1 or (len(faults) == 2 and [fault.sign for fault in faults] == [Sign.NODES, Sign.LINKS]):
        return ""
    able = {sign: ", ".join(fault.name for fault in FAULTS.values() if fault.sign is sign) for sign in Sign}
    return f"two at once are one of {able[Sign.NODES]}, then one of {able[Sign.LINKS]}"


def _seen(before: _Signs, after: _Signs, sign: Sign = Sign.ANY) -> list[str]:
    """What has changed, of one kind or of any."""
    seen = []
    if sign is Sign.ANY and after.term > before.term:
        seen.append(f"election: term {before.term} to {after.term}")
    if sign is Sign.ANY and after.leader != before.leader and after.leader is not None:
        seen.append(f"{after.leader} leads instead of {before.leader or 'nobody'}")
    renewed = [name for name, pid in after.pids.items() if pid != before.pids.get(name)]
    if sign is not Sign.LINKS and renewed:
        seen.append(f"another process: {', '.join(renewed)}")
    if sign is not Sign.NODES and after.resets > before.resets:
        seen.append(f"{after.resets - before.resets:,} connections reset")
    if sign is not Sign.NODES and after.held_bytes > before.held_bytes:
        seen.append(f"{after.held_bytes - before.held_bytes:,} bytes held up")
    if sign is Sign.ANY and after.unserved > before.unserved:
        seen.append(f"{after.unserved - before.unserved:,} operations refused or unanswered")
    return seen

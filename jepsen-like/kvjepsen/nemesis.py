"""Breaks a real cluster, one fault at a time, with quiet times between; a seed gives faults, victims and moments.

    kill      SIGKILL, down for a while, started again
    pause     SIGSTOP, SIGCONT
    cut       one node cut off from all others; both ways or one, stalled or reset (needs link proxies)
    leader    SIGKILL for whoever leads, started again at once
    lag       a follower stays dead until the others have cut the log that it needs: it gets a snapshot. Needs clients
              that write meanwhile, and nodes that take snapshots often (KV_SNAPSHOT_LOG_BYTES)

Every fault is over, and every node ready, when its method returns.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from kvcluster import probe
from kvcluster.faults import heal, partition
from kvcluster.supervisor import Cluster, NotReady
from kvcluster.topology import NodeSpec
from kvjepsen.frame import Progress
from kvstore import limits
from kvstore.client import AsyncClient

Fault = Literal["kill", "pause", "cut", "leader", "lag"]

_HELD_S: Final = (0.2, 2.0)
_READY_S_MAX: Final = 30.0
_LAG_S_MAX: Final = 60.0
_POLL_S: Final = 0.05
_FILLER_KEY: Final = b"nemesis/filler"
_FILLER_BYTES: Final = 3 * limits.SEGMENT_BYTES
_TAKEN: Final = "kv_snapshots_taken_total"
_INSTALLED: Final = "kv_snapshots_installed_total"


class Nemesis:
    """`done` counts the faults; `snapshots_installed` those that a node got after `lag`."""

    def __init__(self, cluster: Cluster, rng: random.Random, progress: Progress = lambda line: None) -> None:
        self.done: Counter[str] = Counter()
        self.snapshots_installed = 0
        self._cluster = cluster
        self._rng = rng
        self._progress = progress

    async def run(self, faults: Sequence[Fault], calm_s: tuple[float, float], stop: asyncio.Event) -> None:
        """Faults and quiet times in turn until `stop` is set; each of `faults` once before any comes again."""
        left: list[Fault] = []
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), self._rng.uniform(*calm_s))
            except TimeoutError:
                left = left or self._rng.sample(faults, len(faults))
                await self.inflict(left.pop())

    async def inflict(self, fault: Fault) -> None:
        """One fault, from its beginning to its end. Raises NotReady."""
        cluster = self._cluster
        victim = self._rng.choice(cluster.topology.names)
        leader = await asyncio.to_thread(cluster.leader)
        if fault == "leader" and leader is not None:
            victim = leader
        if fault == "lag" and victim == leader:
            victim = self._rng.choice([name for name in cluster.topology.names if name != leader])
        self._progress(f"{fault} {victim}{' (leader)' if victim == leader else ''}")
        await getattr(self, f"_{fault}")(victim)
        await asyncio.to_thread(cluster.wait_ready, cluster.topology.names, _READY_S_MAX)
        self.done[fault] += 1

    async def _kill(self, victim: str) -> None:
        await asyncio.to_thread(self._cluster.kill, victim)
        await self._hold()
        await asyncio.to_thread(self._cluster.start, victim)

    async def _leader(self, victim: str) -> None:
        await asyncio.to_thread(self._cluster.kill, victim)
        await asyncio.to_thread(self._cluster.start, victim)

    async def _pause(self, victim: str) -> None:
        await asyncio.to_thread(self._cluster.pause, victim)
        try:
            await self._hold()
        finally:
            await asyncio.to_thread(self._cluster.resume, victim)

    async def _cut(self, victim: str) -> None:
        topology, rng = self._cluster.topology, self._rng
        sides = [victim, ",".join(name for name in topology.names if name != victim)]
        rng.shuffle(sides)
        one_way, reset = rng.random() < 0.3, rng.random() < 0.5
        await asyncio.to_thread(partition, topology, "|".join(sides), one_way=one_way, reset=reset)
        try:
            await self._hold()
        finally:
            await asyncio.to_thread(heal, topology)

    async def _lag(self, victim: str) -> None:
        """A log is cut by whole segments: it has to grow by some of them while the victim is dead."""
        others = [node for node in self._cluster.topology.nodes if node.name != victim]
        await asyncio.to_thread(self._cluster.kill, victim)
        async with AsyncClient([node.http for node in others], timeout_s=_LAG_S_MAX) as client:
            for _ in range(_FILLER_BYTES // limits.VALUE_BYTES_MAX):
                await client.put(_FILLER_KEY, self._rng.randbytes(limits.VALUE_BYTES_MAX))
            before = [await self._metric(node, _TAKEN) for node in others]
            for node, taken in zip(others, before, strict=True):
                await self._until_above(node, _TAKEN, taken, "no snapshot was taken")
            await client.put(_FILLER_KEY, b"")
        await asyncio.to_thread(self._cluster.start, victim)
        await asyncio.to_thread(self._cluster.wait_ready, [victim], _READY_S_MAX)
        node = self._cluster.topology.node(victim)
        await self._until_above(node, _INSTALLED, 0, "no snapshot was installed")
        self.snapshots_installed += 1

    async def _until_above(self, node: NodeSpec, name: str, bound: float, otherwise: str) -> None:
        """Ask again and again: a metric is no event to wait for."""
        deadline = time.monotonic() + _LAG_S_MAX
        while await self._metric(node, name) <= bound:
            if time.monotonic() >= deadline:
                raise NotReady(f"{otherwise} at {node.name} within {_LAG_S_MAX:g} s")
            await asyncio.sleep(_POLL_S)

    async def _metric(self, node: NodeSpec, name: str) -> float:
        return await asyncio.to_thread(probe.metric, node, name) or 0

    async def _hold(self) -> None:
        await asyncio.sleep(self._rng.uniform(*_HELD_S))

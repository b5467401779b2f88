"""The measurement of `kv bench failover`: how long nobody can write when the leader dies, or falls silent.

Writers run without a pause, several through each node, each attempt with a short deadline of its own. When the leader
is killed or paused, the gap is the time from just before the signal to the first acknowledgement of a write that was
begun after the leader had stopped.

A request that waits in a node for a leader is answered as soon as there is one. One that was passed on to a leader that
then fell silent is lost, and its writer finds out only when the attempt ends; so attempts end after a random time, from
half of `attempt_s` to the whole, and the writers do not find out all at once. What the clients add to a gap is about
`attempt_s` divided by the number of writers at other nodes.

One more writer is a client as people use it: it knows all nodes, sends again by itself, and has a usual deadline. What
it sees is told apart: its longest time between two acknowledgments, which is longer where it waits for a silent node.
"""

import asyncio
import math
import random
import secrets
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Literal

from kvcluster.supervisor import Cluster, NotReady
from kvjepsen.threads import in_thread
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError, NotFound

Fault = Literal["kill", "pause"]

RETRY_S: Final = 0.005

_GAP_S_MAX: Final = 30.0
_CAUGHT_UP_S_MAX: Final = 30.0
_SETTLE_S: Final = (0.5, 1.0)
_POLL_S: Final = 0.02
_VALUE: Final = b"failover"


class Failover:
    """One measurement on a running cluster. `gaps_s` holds the gap of every round, by fault; `client_gaps_s` what the
    one client saw.
    """

    def __init__(
        self, cluster: Cluster, writers: int, attempt_s: float, progress: Callable[[str], None] = lambda line: None
    ) -> None:
        """`writers`: how many through each node."""
        self.gaps_s: dict[Fault, list[float]] = {"kill": [], "pause": []}
        self.client_gaps_s: dict[Fault, list[float]] = {"kill": [], "pause": []}
        self.acknowledged = 0
        self._cluster = cluster
        self._writers = writers
        self._attempt_s = attempt_s
        self._progress = progress
        self._stem = f"bench/{secrets.token_hex(4)}/"
        self._awaited: asyncio.Future[float] | None = None
        self._stopped = 0.0
        self._client = _Client()

    async def run(self, kills: int, pauses: int) -> None:
        """Kills first, then pauses; every node runs and has caught up at the end. Raises NotReady."""
        endpoints = self._cluster.topology.endpoints
        keys = [f"{self._stem}{number}".encode() for number in range(self._writers * len(endpoints))]
        async with AsyncExitStack() as stack:
            # Each keeps to one node, and sends each write once: whether another node has noticed is not to be hidden by
            # failing over, and an attempt is not to end later than it should.
            clients = [
                await stack.enter_async_context(AsyncClient([url], timeout_s=self._attempt_s, sessions=False))
                for url in endpoints
            ]
            anywhere = await stack.enter_async_context(AsyncClient(endpoints))
            tasks = [
                asyncio.create_task(self._write(clients[number % len(clients)], key)) for number, key in enumerate(keys)
            ]
            usual = await stack.enter_async_context(AsyncClient(endpoints))
            keys.append(f"{self._stem}client".encode())
            tasks.append(asyncio.create_task(self._client.write(usual, keys[-1])))
            try:
                plan: tuple[tuple[Fault, int], ...] = (("kill", kills), ("pause", pauses))
                for fault, rounds in plan:
                    for number in range(rounds):
                        await self._round(fault, anywhere)
                        self._progress(f"{fault} {number + 1} of {rounds}: {self.gaps_s[fault][-1] * 1000:.0f} ms")
                await self._until_caught_up(anywhere)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for key in keys:
                with suppress(NotFound):
                    await anywhere.delete(key)

    def to_json(self) -> dict[str, Any]:
        """The document of `-o json`. Seconds; null where there was no round."""
        return {
            "dir": str(self._cluster.topology.directory),
            "nodes": len(self._cluster.topology.nodes),
            "writers": self._writers * len(self._cluster.topology.nodes),
            "attempt_s": self._attempt_s,
            "kills": _summary(self.gaps_s["kill"]),
            "pauses": _summary(self.gaps_s["pause"]),
            "client": {
                "kills": _summary(self.client_gaps_s["kill"]),
                "pauses": _summary(self.client_gaps_s["pause"]),
            },
        }

    async def _round(self, fault: Fault, client: AsyncClient) -> None:
        await self._until_caught_up(client)
        # At any moment between two heartbeats, and not while connections are still being made.
        await asyncio.sleep(random.uniform(*_SETTLE_S))
        leader = await in_thread(self._cluster.leader)
        if leader is None:
            raise NotReady("no node says that there is a leader")
        self._client.watch()
        since = time.monotonic()
        await in_thread(self._cluster.kill if fault == "kill" else self._cluster.pause, leader)
        # What was begun before the node had certainly stopped may still have been its own.
        self._stopped, self._awaited = time.monotonic(), asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_GAP_S_MAX):
                acknowledged = await self._awaited
                client_gap_s = await self._client.gap_s(self._stopped)
        except TimeoutError:
            raise NotReady(f"no write was acknowledged {_GAP_S_MAX:g} s after {leader} had failed") from None
        finally:
            if fault == "pause":
                await in_thread(self._cluster.resume, leader)
        self.gaps_s[fault].append(acknowledged - since)
        self.client_gaps_s[fault].append(client_gap_s)
        if fault == "kill":
            await in_thread(self._cluster.restart, leader)

    async def _write(self, client: AsyncClient, key: bytes) -> None:
        while True:
            begun = time.monotonic()
            try:
                await client.put(key, _VALUE, timeout_s=self._attempt_s * random.uniform(0.5, 1))
            except (KvError, LocalError):
                await asyncio.sleep(RETRY_S)
                continue
            self.acknowledged += 1
            if self._awaited is not None and not self._awaited.done() and begun > self._stopped:
                self._awaited.set_result(time.monotonic())

    async def _until_caught_up(self, client: AsyncClient) -> None:
        """Wait until every node is ready and has what was in the log when the wait began."""
        names = self._cluster.topology.names
        deadline = time.monotonic() + _CAUGHT_UP_S_MAX
        await in_thread(self._cluster.wait_ready, names, _CAUGHT_UP_S_MAX)
        floor: int | None = None
        while True:
            with suppress(KvError, LocalError):
                view = await client.cluster()
                floor = view.commit_index if floor is None else floor
                applied = {member.name: member.applied_index or 0 for member in view.members}
                if all(applied.get(name, 0) >= floor for name in names):
                    return
            if time.monotonic() >= deadline:
                raise NotReady(f"not every node has caught up after {_CAUGHT_UP_S_MAX:g} s")
            await asyncio.sleep(_POLL_S)


class _Client:
    """The writer that is a usual client: one write after the other, and the longest wait for an acknowledgment."""

    def __init__(self) -> None:
        self._acknowledged = time.monotonic()
        self._longest_s = 0.0
        self._after: asyncio.Future[float] | None = None
        self._stopped = math.inf

    def watch(self) -> None:
        """Forget what was before."""
        self._longest_s, self._after, self._stopped = 0.0, None, math.inf

    async def gap_s(self, stopped: float) -> float:
        """The longest wait since `watch`, once a write is acknowledged that was begun after `stopped`."""
        self._stopped, self._after = stopped, asyncio.get_running_loop().create_future()
        return await self._after

    async def write(self, client: AsyncClient, key: bytes) -> None:
        """Write until cancelled."""
        while True:
            begun = time.monotonic()
            try:
                await client.put(key, _VALUE)
            except (KvError, LocalError):
                await asyncio.sleep(RETRY_S)
                continue
            now = time.monotonic()
            self._longest_s = max(self._longest_s, now - self._acknowledged)
            self._acknowledged = now
            if self._after is not None and not self._after.done() and begun > self._stopped:
                self._after.set_result(self._longest_s)


def _summary(gaps_s: list[float]) -> dict[str, Any]:
    ordered = sorted(round(gap, 3) for gap in gaps_s)
    return {
        "rounds": len(ordered),
        "median_s": round(statistics.median(ordered), 3) if ordered else None,
        # The nearest rank: a value that was measured.
        "p90_s": ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else None,
        "worst_s": ordered[-1] if ordered else None,
        "gaps_s": [round(gap, 3) for gap in gaps_s],
    }

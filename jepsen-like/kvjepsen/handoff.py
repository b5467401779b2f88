"""Writes at level ONE on the last node alive of three, which is killed right after it has acknowledged one.

    python -m kvjepsen.handoff --kills 100

The other nodes are killed first. Writers go on at level ONE at the last node; as soon as one of them has its 202, that
node gets SIGKILL, and is started again. Now and then the others come back: then writes at QUORUM are made on the same
keys while the last node is dead with what it has not handed over, and it is killed once more while it hands over.
In the end all nodes run, and the ledger of writes at level ONE (handed.py) must hold on each of them.
"""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import numpy

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.handed import Handed
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

SETTINGS: Final = {"KV_SNAPSHOT_LOG_BYTES": str(1 << 18), "KV_LOG_KEEP_BYTES": str(1 << 16)}

_WRITERS: Final = 4
_KEYS_PER_WRITER: Final = 8
_DELETE_SHARE: Final = 0.1
_BACK_EVERY: Final = 5
_ACKNOWLEDGED_BETWEEN_KILLS: Final = (1, 1, 10, 50)
_MOMENT_S_MAX: Final = 0.3
# Whatever happens, a writer keeps at its write until it is acknowledged: the ledger knows no unknown ones.
_WRITE_S_MAX: Final = 120.0
_QUORUM_WRITES: Final = 4


@dataclass
class HandoffOutcome(Outcome):
    """What happened. `latencies_s`: of writes that no failure came between."""

    kills: int = 0
    while_handing_over: int = 0
    acknowledged: int = 0
    superseded: int = 0
    reads: int = 0
    latencies_s: list[float] = field(default_factory=list)
    convergence: Convergence | None = None

    def enough(self) -> bool:
        return bool(self.kills and self.convergence and self.while_handing_over and self.acknowledged >= 2 * self.kills)

    def counts(self) -> list[tuple[str, str]]:
        median, p99 = numpy.percentile(self.latencies_s, [50, 99]) * 1_000 if self.latencies_s else (0, 0)
        agreed = self.convergence
        return [
            ("kills right after a 202", f"{self.kills}, of them while others came back {self.while_handing_over}"),
            ("writes at ONE acknowledged", f"{self.acknowledged:,}, superseded by newer ones {self.superseded:,}"),
            ("latency of those undisturbed", f"median {median:.2f} ms, p99 {p99:.2f} ms"),
            ("reads to check", f"{self.reads:,}"),
            ("all nodes agree", f"digest {agreed.digest} at index {agreed.applied_index}" if agreed else "no"),
        ]


async def handoff(cluster: Cluster, *, kills: int, seed: int, progress: Progress = lambda line: None) -> HandoffOutcome:
    """Run against a cluster that is ready; all nodes are up when it returns, unless `problem` says otherwise."""
    outcome, started = HandoffOutcome(), time.monotonic()
    run = _Run(cluster, random.Random(seed), outcome, progress)
    try:
        await run.run(kills)
        outcome.convergence = await converge(cluster)
        async with AsyncClient(cluster.topology.endpoints) as client:
            outcome.findings += await run.handed.settle(client)
        outcome.reads, wrong = await run.handed.check({node.name: node.http for node in cluster.topology.nodes})
        outcome.findings += wrong
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
    outcome.acknowledged, outcome.superseded = sum(1 for _ in run.handed.ones()), run.handed.superseded
    outcome.seconds = time.monotonic() - started
    return outcome


class _Run:
    def __init__(self, cluster: Cluster, rng: random.Random, outcome: HandoffOutcome, progress: Progress) -> None:
        self.handed = Handed()
        self._cluster = cluster
        self._rng = rng
        self._outcome = outcome
        self._progress = progress
        self._last = rng.choice(cluster.topology.names)
        self._others = [name for name in cluster.topology.names if name != self._last]
        self._acknowledged = asyncio.Condition()
        self._stop = False
        self._locks: dict[bytes, asyncio.Lock] = {}

    async def run(self, kills: int) -> None:
        for name in self._others:
            await asyncio.to_thread(self._cluster.kill, name)
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    AsyncClient([self._cluster.topology.node(self._last).http], timeout_s=_WRITE_S_MAX)
                )
                for _ in range(_WRITERS)
            ]
            writers = [asyncio.create_task(self._write(number, client)) for number, client in enumerate(clients)]
            try:
                while self._outcome.kills < kills:
                    if self._outcome.kills % _BACK_EVERY == _BACK_EVERY - 1:
                        await self._kill_while_the_others_come_back()
                    else:
                        await self._kill_after_a_202()
                        await asyncio.to_thread(self._cluster.start, self._last)
            finally:
                self._stop = True
                await asyncio.to_thread(self._cluster.up)
                await asyncio.gather(*writers)

    async def _kill_after_a_202(self) -> None:
        for _ in range(self._rng.choice(_ACKNOWLEDGED_BETWEEN_KILLS)):
            async with self._acknowledged:
                await self._acknowledged.wait()
        await asyncio.to_thread(self._cluster.kill, self._last)
        self._outcome.kills += 1
        self._progress(f"kill {self._outcome.kills} of {self._last}")

    async def _kill_while_the_others_come_back(self) -> None:
        """Twice: dead with what is pending while the others take newer writes, and in the middle of handing over."""
        await self._kill_after_a_202()
        for name in self._others:
            await asyncio.to_thread(self._cluster.start, name)
        await asyncio.to_thread(self._cluster.wait_ready, self._others, 30)
        await self._write_newer()
        await asyncio.to_thread(self._cluster.start, self._last)
        async with self._acknowledged:
            await self._acknowledged.wait()
        await asyncio.sleep(self._rng.uniform(0, _MOMENT_S_MAX))
        await self._kill_after_a_202()
        self._outcome.while_handing_over += 1
        for name in self._others:
            await asyncio.to_thread(self._cluster.kill, name)
        await asyncio.to_thread(self._cluster.start, self._last)

    async def _write_newer(self) -> None:
        """At QUORUM, through the others, on keys that have no write under way."""
        free = [key for key, lock in self._locks.items() if not lock.locked()]
        endpoints = [self._cluster.topology.node(name).http for name in self._others]
        async with AsyncClient(endpoints, timeout_s=_WRITE_S_MAX) as client:
            for key in self._rng.sample(free, min(len(free), _QUORUM_WRITES)):
                async with self._locks[key]:
                    value = b"newer " + key + b" %d" % self._outcome.kills
                    self.handed.note(value, await client.put(key, value))

    async def _write(self, number: int, client: AsyncClient) -> None:
        rng, written = random.Random(f"{number}/{self._last}"), 0
        keys = [b"handoff/%d/%d" % (number, place) for place in range(_KEYS_PER_WRITER)]
        self._locks |= {key: asyncio.Lock() for key in keys}
        while not self._stop:
            key, written = rng.choice(keys), written + 1
            async with self._locks[key]:
                retries, begun = client.retries, time.monotonic()
                value = None if rng.random() < _DELETE_SHARE else b"%d/%d" % (number, written)
                await self.handed.one(client, key, value)
                if client.retries == retries:
                    self._outcome.latencies_s.append(time.monotonic() - begun)
            async with self._acknowledged:
                self._acknowledged.notify_all()


@click.command()
@click.option("--kills", type=click.IntRange(1), default=100, show_default=True)
@seed_option
@directory_option
def main(kills: int, seed: int, directory: Path | None) -> None:
    """Kill the last node of three right after it has acknowledged writes at level ONE; nothing may be lost or doubled.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "handoff",
        directory,
        lambda where: bring_up(where, 3, progress=say, env=SETTINGS),
        lambda cluster: handoff(cluster, kills=kills, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

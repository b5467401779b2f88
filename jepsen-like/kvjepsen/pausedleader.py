"""Stops the leader, lets the others elect another one and write, and holds the sleeper to linearizability as it wakes.

    python -m kvjepsen.pausedleader --times 200

Each time, under writes of other clients: a key gets an old value; the leader is stopped with SIGSTOP; another one is
elected and acknowledges a new value; only then QUORUM reads of the key are sent to the stopped node, which its kernel
keeps; it is woken by SIGCONT, and gets more of them at once. Every one of these reads began after the new value was
acknowledged, so none may answer the old one, whether the sleeper still believes that it leads or not. An error is
allowed.

A woken node mostly hears of its successor before it hears the reads. So every second time nothing that the others say
reaches it (if the cluster has link proxies) until it has had its reads for a while, believing that it still leads.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from kvcluster.faults import heal, partition
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST
from kvjepsen.convergence import NotConverged, converge
from kvjepsen.frame import Verdict, conduct, directory_option, say, seed_option
from kvjepsen.leaders import CHANGE_S_MAX, next_leader
from kvjepsen.ledger import Ledger
from kvjepsen.load import load
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_WRITERS: Final = 6
_KEYS_PER_WRITER: Final = 20
_SLEEPING_READS: Final = 8
_WAKING_READS: Final = 8
_WAKING_PAUSE_S: Final = 0.002
_RUN_S_MAX: Final = 0.3
_POLL_S: Final = 0.02
_ANSWER_S_MAX: Final = 15.0
_DEAF_S: Final = 0.15
_DEPOSED_SHARE_MIN: Final = 0.9

_KEY: Final = "paused"


@dataclass
class Outcome:
    """What a run did and saw. `stale`: what is wrong; `problem`: why the run could not go on."""

    times: int = 0
    deposed: int = 0
    deaf: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    slowest_change_s: float = 0.0
    seconds: float = 0.0
    stale: list[str] = field(default_factory=list)
    problem: str | None = None

    def complaints(self) -> list[str]:
        """What is wrong, one line each."""
        return self.stale if self.problem is None else [*self.stale, self.problem]

    @property
    def verdict(self) -> Verdict:
        """passed, failed, or vacuous: the sleepers were hardly ever deposed, or never answered a read."""
        if self.stale or self.problem is not None:
            return "failed"
        enough = self.times and self.deposed >= _DEPOSED_SHARE_MIN * self.times and self.answers["new value"]
        return "passed" if enough else "vacuous"

    def rows(self) -> list[tuple[str, str]]:
        """The table of what happened."""
        return [
            ("leaders paused", f"{self.times}, of them replaced meanwhile {self.deposed}"),
            ("woken without hearing the others", str(self.deaf)),
            ("slowest replacement", f"{self.slowest_change_s:.2f} s"),
            *((f"reads answered: {what}", f"{count:,}") for what, count in sorted(self.answers.items())),
            ("writes of others acknowledged", f"{self.acknowledged:,}"),
            ("stale reads, or other findings", str(len(self.stale))),
            ("time", f"{self.seconds:.0f} s"),
            ("verdict", self.verdict),
        ]


async def paused_leader(
    cluster: Cluster,
    *,
    times: int,
    seed: int,
    level: str = "quorum",
    progress: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run against a cluster that is ready; all nodes run again when it returns.

    `level` "one" shows that the instrument works: such reads may be stale, and those of a node that hears nothing are.
    """
    outcome, ledger, rng, started = Outcome(), Ledger(), random.Random(seed), time.monotonic()
    try:
        async with load(cluster.topology.endpoints, ledger, seed, writers=_WRITERS, keys_per_writer=_KEYS_PER_WRITER):
            for number in range(times):
                await asyncio.sleep(rng.uniform(0, _RUN_S_MAX))
                await _once(cluster, number, level, outcome)
                progress(f"{number + 1} of {times}, {len(outcome.stale)} stale")
        await converge(cluster)
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error) or type(error).__name__
        if cluster.topology.links:
            heal(cluster.topology)
    outcome.stale += [f"{finding.kind}: {finding.key!r}: {finding.detail}" for finding in ledger.findings]
    outcome.acknowledged, outcome.seconds = ledger.acknowledged, time.monotonic() - started
    return outcome


async def _once(cluster: Cluster, number: int, level: str, outcome: Outcome) -> None:
    old, new = b"old %d" % number, b"new %d" % number
    async with AsyncClient(cluster.topology.endpoints) as client:
        await client.put(_KEY.encode(), old)
        sleeper = await next_leader(client, cluster.topology.names)
    awake = [name for name in cluster.topology.names if name != sleeper]
    others = [cluster.topology.node(name).http for name in awake]
    port = cluster.topology.node(sleeper).http_port
    async with AsyncClient(others) as client:
        # Connections from before the pause are kept by the sleeper's loop, those of the pause by its kernel.
        waiting = [await _Read.connect(port, level) for _ in range(_SLEEPING_READS // 2)]
        reads: list[asyncio.Task[tuple[str, bytes]]] = []
        paused = time.monotonic()
        deaf = bool(cluster.topology.links) and number % 2 == 0
        await asyncio.to_thread(cluster.pause, sleeper)
        try:
            if deaf:
                await asyncio.to_thread(partition, cluster.topology, f"{','.join(awake)}|{sleeper}", one_way=True)
            await next_leader(client, awake)
            await _put_new(client, new)
            outcome.slowest_change_s = max(outcome.slowest_change_s, time.monotonic() - paused)
            waiting += [await _Read.connect(port, level) for _ in range(_SLEEPING_READS - len(waiting))]
            for read in waiting:
                await read.send()
        finally:
            await asyncio.to_thread(cluster.resume, sleeper)
        reads += [asyncio.create_task(read.answer()) for read in waiting]
        for _ in range(_WAKING_READS):
            reads.append(asyncio.create_task(_read_anew(port, level)))
            await asyncio.sleep(_WAKING_PAUSE_S)
        if deaf:
            await asyncio.sleep(_DEAF_S)
            await asyncio.to_thread(heal, cluster.topology)
        for status, body in await asyncio.gather(*reads):
            what = "new value" if (status, body) == ("200", new) else f"status {status}"
            outcome.answers[what] += 1
            if status == "200" and body != new:
                outcome.stale.append(f"pause {number + 1}: {sleeper} answered {body!r} after {new!r} was acknowledged")
        outcome.times += 1
        outcome.deaf += deaf
        outcome.deposed += await next_leader(client, cluster.topology.names) != sleeper


async def _put_new(client: AsyncClient, value: bytes) -> None:
    """Write until it is acknowledged. A repetition changes nothing: it is the same value."""
    deadline = time.monotonic() + CHANGE_S_MAX
    while True:
        try:
            await client.put(_KEY.encode(), value)
            return
        except (KvError, LocalError):
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(_POLL_S)


class _Read:
    """One read over a connection of its own: connecting, sending and hearing are moments apart."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, level: str) -> None:
        self._reader = reader
        self._writer = writer
        self._level = level

    @classmethod
    async def connect(cls, port: int, level: str) -> "_Read":
        return cls(*await asyncio.open_connection(HOST, port), level)

    async def send(self) -> None:
        request = f"GET /v1/kv/{_KEY}?level={self._level} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        self._writer.write(request.encode())
        await self._writer.drain()

    async def answer(self) -> tuple[str, bytes]:
        """Status and body; the status is "none" when the connection ended, or nothing came in time."""
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                head, _, body = (await self._reader.read()).partition(b"\r\n\r\n")
            return (head.split()[1].decode(), body) if head else ("none", b"")
        except (OSError, TimeoutError):
            return "none", b""
        finally:
            self._writer.close()


async def _read_anew(port: int, level: str) -> tuple[str, bytes]:
    try:
        read = await _Read.connect(port, level)
        await read.send()
    except OSError:
        return "none", b""
    return await read.answer()


@click.command()
@click.option("--times", type=click.IntRange(1), default=200, show_default=True)
@click.option("--nodes", type=click.IntRange(3, 9), default=3, show_default=True)
@click.option("--level", type=click.Choice(["quorum", "one"]), default="quorum", show_default=True)
@seed_option
@directory_option
def main(times: int, nodes: int, level: str, seed: int, directory: Path | None) -> None:
    """Pause leaders under writes, and check that no read of a woken one is stale.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "pausedleader",
        directory,
        lambda where: bring_up(where, nodes, progress=say, proxy=True),
        lambda cluster: paused_leader(cluster, times=times, seed=seed, level=level, progress=say),
    )


if __name__ == "__main__":
    main()

"""Writes at level ONE whose way to the leader is cut again and again: what was lost is sent again, and applied once.

    python -m kvjepsen.lostbatches --times 200

Writers go on at one follower. Each time a link between it and the leader is stalled, in one direction or both, until a
batch of theirs hangs in it; then what is in the link is thrown away. On the way there the batch is lost, on the way
back the answer to one that was applied. Now and then somebody else is made the leader meanwhile. In the end the ledger
of writes at level ONE (handed.py) must hold on every node.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from kvcluster import probe
from kvcluster.faults import heal, partition
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.handed import Handed
from kvjepsen.leaders import next_leader
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_WRITERS: Final = 6
_KEYS_PER_WRITER: Final = 5
_CALM_S_MAX: Final = 0.2
_HANG_S_MAX: Final = 1.0
_POLL_S: Final = 0.01
_TRANSFER_SHARE: Final = 0.1
_WRITE_S_MAX: Final = 30.0


@dataclass
class LostOutcome(Outcome):
    """What happened. `lost` counts by direction what was thrown away while writes were pending behind it."""

    times: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    transfers: int = 0
    acknowledged: int = 0
    superseded: int = 0
    batches: int = 0
    reads: int = 0
    convergence: Convergence | None = None

    def enough(self) -> bool:
        return 2 * self.lost.total() >= self.times > 0 and self.acknowledged > self.times

    def counts(self) -> list[tuple[str, str]]:
        return [
            ("times", f"{self.times}, leaders changed on purpose {self.transfers}"),
            *((f"thrown away: {what}", str(count)) for what, count in sorted(self.lost.items())),
            ("writes at ONE acknowledged", f"{self.acknowledged:,} in at least {self.batches:,} batches"),
            ("reads to check", f"{self.reads:,}"),
        ]


async def lost_batches(
    cluster: Cluster, *, times: int, seed: int, progress: Progress = lambda line: None
) -> LostOutcome:
    """Run against a cluster with link proxies that is ready; it is whole again when this returns."""
    outcome, rng, handed, started = LostOutcome(), random.Random(seed), Handed(), time.monotonic()
    follower = next(name for name in cluster.topology.names if name != cluster.leader())
    stop = asyncio.Event()
    writers = [asyncio.create_task(_write(cluster, follower, number, handed, stop)) for number in range(_WRITERS)]
    try:
        async with AsyncClient(cluster.topology.endpoints, timeout_s=_WRITE_S_MAX) as client:
            for number in range(times):
                await asyncio.sleep(rng.uniform(0, _CALM_S_MAX))
                await _lose(cluster, follower, client, rng, outcome)
                progress(f"{number + 1} of {times}")
            stop.set()
            await asyncio.gather(*writers)
            outcome.findings += await handed.settle(client)
        outcome.convergence = await converge(cluster)
        outcome.reads, wrong = await handed.check({node.name: node.http for node in cluster.topology.nodes})
        outcome.findings += wrong
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
    finally:
        stop.set()
        await asyncio.to_thread(heal, cluster.topology)
        await asyncio.gather(*writers, return_exceptions=True)
    batches = await asyncio.to_thread(probe.metric, cluster.topology.node(follower), "kv_intent_batches_total")
    outcome.batches, outcome.superseded = int(batches or 0), handed.superseded
    outcome.acknowledged = sum(1 for _ in handed.ones())
    outcome.seconds = time.monotonic() - started
    return outcome


async def _write(cluster: Cluster, node: str, number: int, handed: Handed, stop: asyncio.Event) -> None:
    written = 0
    async with AsyncClient([cluster.topology.node(node).http], timeout_s=_WRITE_S_MAX) as client:
        while not stop.is_set():
            written += 1
            await handed.one(client, b"lost/%d/%d" % (number, written % _KEYS_PER_WRITER), b"%d" % written)


async def _lose(cluster: Cluster, follower: str, client: AsyncClient, rng: random.Random, outcome: LostOutcome) -> None:
    topology = cluster.topology
    leader = await next_leader(client, topology.names)
    if leader == follower or rng.random() < _TRANSFER_SHARE:
        other = next(name for name in topology.names if name not in (follower, leader))
        with suppress(KvError, LocalError):  # it may not take over in time; then the old one goes on
            await client.transfer_leader(other)
            outcome.transfers += 1
        leader = await next_leader(client, [name for name in topology.names if name != follower])
    way = rng.choice(("there", "back", "both"))
    groups = f"{leader}|{follower}" if way == "back" else f"{follower}|{leader}"
    one_way = way != "both"
    await asyncio.to_thread(partition, topology, groups, one_way=one_way)
    try:
        hung = await _hangs(cluster, follower)
        await asyncio.to_thread(partition, topology, groups, one_way=one_way, reset=True)
    finally:
        await asyncio.to_thread(heal, topology)
    outcome.lost[way] += hung
    outcome.times += 1


async def _hangs(cluster: Cluster, follower: str) -> bool:
    """Whether writes wait at the follower while no batch gets through; asked twice, for a moment between them."""
    deadline = time.monotonic() + _HANG_S_MAX
    before = None
    while time.monotonic() < deadline:
        node = cluster.topology.node(follower)
        pending = await asyncio.to_thread(probe.metric, node, "kv_intents_pending") or 0
        applied = await asyncio.to_thread(probe.metric, node, "kv_raft_applied_index")
        if pending and applied == before:
            return True
        before = applied
        await asyncio.sleep(_POLL_S)
    return False


@click.command()
@click.option("--times", type=click.IntRange(1), default=200, show_default=True)
@seed_option
@directory_option
def main(times: int, seed: int, directory: Path | None) -> None:
    """Throw away batches of writes at level ONE, and answers to them, on their way; each write is applied once.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "lostbatches",
        directory,
        lambda where: bring_up(where, 3, progress=say, proxy=True),
        lambda cluster: lost_batches(cluster, times=times, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

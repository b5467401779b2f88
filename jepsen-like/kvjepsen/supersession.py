"""Writes at level ONE on the wrong side of a partition: they lose to what the others wrote later, and win otherwise.

    python -m kvjepsen.supersession --times 30

Each time one node, leader or not, is cut off. At level ONE it takes a put of each key below, before or after the others
have done theirs at QUORUM; no side can know of the other. Stamps alone decide, so the later write wins:

    older     ONE put, then a put of the others          superseded, the value of the others stays
    deleted   ONE put, then a delete of the others       superseded, the key is not resurrected
    newer     a put of the others, then ONE put          committed, it wins
    again     ONE put, a put of the others, ONE put      superseded, and committed
    undone    a put of the others, then ONE delete       committed, the key is gone
    alone     ONE put                                    committed

Clocks are those of one machine, so "later" is what this process does later, at least CLOCK_S later.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from kvcluster.faults import heal, partition
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.handed import Handed
from kvjepsen.leaders import next_leader
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_LEADER_SHARE: Final = 0.5
_CLOCK_S: Final = 0.005
_WRITE_S_MAX: Final = 30.0
_KINDS: Final = ("older", "deleted", "newer", "again", "undone", "alone")
_SUPERSEDED: Final = {"older": 1, "deleted": 1, "newer": 0, "again": 1, "undone": 0, "alone": 0}


@dataclass
class SupersessionOutcome(Outcome):
    """What happened."""

    times: int = 0
    leaders_cut: int = 0
    committed: int = 0
    superseded: int = 0
    reads: int = 0
    convergence: Convergence | None = None

    def enough(self) -> bool:
        return self.times > 0 and self.convergence is not None

    def counts(self) -> list[tuple[str, str]]:
        agreed = self.convergence
        return [
            ("partitions", f"{self.times}, of them around the leader {self.leaders_cut}"),
            ("writes at ONE", f"committed {self.committed}, superseded {self.superseded}"),
            ("reads to check", f"{self.reads:,}"),
            ("all nodes agree", f"digest {agreed.digest} at index {agreed.applied_index}" if agreed else "no"),
        ]


async def supersession(
    cluster: Cluster, *, times: int, seed: int, progress: Progress = lambda line: None
) -> SupersessionOutcome:
    """Run against a cluster with link proxies that is ready; it is whole again when this returns."""
    outcome, rng, started = SupersessionOutcome(), random.Random(seed), time.monotonic()
    try:
        for number in range(times):
            await _once(cluster, number, rng, outcome)
            progress(f"{number + 1} of {times}, {len(outcome.findings)} findings")
        outcome.convergence = await converge(cluster)
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
        await asyncio.to_thread(heal, cluster.topology)
    outcome.seconds = time.monotonic() - started
    return outcome


async def _once(cluster: Cluster, number: int, rng: random.Random, outcome: SupersessionOutcome) -> None:
    topology, handed = cluster.topology, Handed()
    leader = await asyncio.to_thread(cluster.leader)
    aim_at_leader = leader is not None and rng.random() < _LEADER_SHARE
    alone = leader if leader is not None and aim_at_leader else rng.choice(topology.names)
    others = [name for name in topology.names if name != alone]
    keys = {kind: b"%s/%d" % (kind.encode(), number) for kind in _KINDS}
    async with (
        AsyncClient([topology.node(alone).http], timeout_s=_WRITE_S_MAX) as minority,
        AsyncClient([topology.node(name).http for name in others], timeout_s=_WRITE_S_MAX) as majority,
    ):
        for key in keys.values():
            handed.note(b"before", await majority.put(key, b"before", level="all"))
        await asyncio.to_thread(partition, topology, f"{alone}|{','.join(others)}", reset=rng.random() < 0.5)
        try:
            await next_leader(majority, others)
            for kind in ("older", "deleted", "again", "alone"):
                handed.note(b"late", await minority.put(keys[kind], b"late", level="one"))
            await asyncio.sleep(_CLOCK_S)
            for kind in ("older", "newer", "again", "undone"):
                handed.note(b"other", await majority.put(keys[kind], b"other"))
            handed.note(None, await majority.delete(keys["deleted"]))
            await asyncio.sleep(_CLOCK_S)
            for kind in ("newer", "again"):
                handed.note(b"last", await minority.put(keys[kind], b"last", level="one"))
            handed.note(None, await minority.delete(keys["undone"], level="one"))
        finally:
            await asyncio.to_thread(heal, topology)
        outcome.findings += await handed.settle(majority)
    outcome.findings += _not_as_foretold(handed, keys)
    reads, wrong = await handed.check({node.name: node.http for node in topology.nodes})
    outcome.reads += reads
    outcome.findings += wrong
    outcome.superseded += handed.superseded
    outcome.committed += sum(not made.superseded for made in handed.ones())
    outcome.times += 1
    outcome.leaders_cut += alone == leader


def _not_as_foretold(handed: Handed, keys: dict[str, bytes]) -> list[str]:
    """The table above, held against the receipts. That the last write is never superseded is a rule of the ledger."""
    return [
        f"{key!r}: {superseded} of its writes were superseded, not {_SUPERSEDED[kind]}"
        for kind, key in keys.items()
        if (superseded := sum(made.superseded for made in handed.of(key))) != _SUPERSEDED[kind]
    ]


@click.command()
@click.option("--times", type=click.IntRange(1), default=30, show_default=True)
@seed_option
@directory_option
def main(times: int, seed: int, directory: Path | None) -> None:
    """Write at level ONE at a node that is cut off, and elsewhere at QUORUM: the later write wins, receipts say so.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "supersession",
        directory,
        lambda where: bring_up(where, 3, progress=say, proxy=True),
        lambda cluster: supersession(cluster, times=times, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

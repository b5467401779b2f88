"""Kills nodes at random moments, one after the other, while writers run; then holds the cluster to what it promised.

    python -m kvjepsen.crashloop --kills 50 --seed 1 --nodes 3

A kill is SIGKILL. The seed gives the moments, the victims (half of the kills go to whoever leads, the others to any
node) and the writes. Some nodes are killed again while they start. Snapshots are taken often, so that kills strike
compaction and loading too. At the end every node must have the same digest at the same index, and every key, read
through every node at QUORUM and at ONE, must be as the ledger says.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen.audit import Audit, audit
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Verdict, conduct, directory_option, say, seed_option
from kvjepsen.ledger import Finding, Ledger
from kvjepsen.load import load
from kvstore import limits
from kvstore.errors import LocalError

NODE_SETTINGS: Final = {"KV_SNAPSHOT_LOG_BYTES": str(1 << 20), "KV_LOG_KEEP_BYTES": str(1 << 18)}

_RUN_S_MAX: Final = 1.0
_DOWN_S_MAX: Final = 0.6
_LEADER_SHARE: Final = 0.5
_AGAIN_SHARE: Final = 0.25
_ACKNOWLEDGED_PER_KILL_MIN: Final = 10


@dataclass
class Outcome:
    """What a run did and found. `problem`: why there is no agreement on one digest, or why a node did not come back."""

    kills: int = 0
    leader_kills: int = 0
    starting_kills: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    keys: int = 0
    reads: int = 0
    slowest_start_s: float = 0.0
    seconds: float = 0.0
    convergence: Convergence | None = None
    problem: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """What is wrong, one line each."""
        lines = [f"{finding.kind}: {finding.key!r}, {finding.where}: {finding.detail}" for finding in self.findings]
        return lines if self.problem is None else [*lines, self.problem]

    @property
    def verdict(self) -> Verdict:
        """passed, failed, or vacuous: too little was written to show anything."""
        if self.problem is not None or self.findings:
            return "failed"
        enough = self.acknowledged >= _ACKNOWLEDGED_PER_KILL_MIN * max(1, self.kills)
        return "passed" if self.kills and self.convergence is not None and enough else "vacuous"

    def rows(self) -> list[tuple[str, str]]:
        """The table of what happened."""
        agreed = self.convergence
        return [
            ("kills", f"{self.kills}, of leaders {self.leader_kills}, of starting nodes {self.starting_kills}"),
            ("slowest start until ready", f"{self.slowest_start_s:.2f} s"),
            ("writes acknowledged", f"{self.acknowledged:,} on {self.keys:,} keys"),
            ("writes refused, not applied", f"{self.refused:,}"),
            ("writes of unknown outcome", f"{self.unknown:,}"),
            ("reads to check", f"{self.reads:,}"),
            ("all nodes agree", f"digest {agreed.digest} at index {agreed.applied_index}" if agreed else "no"),
            ("lost", str(sum(finding.kind in ("lost", "stale") for finding in self.findings))),
            (
                "altered or otherwise wrong",
                str(sum(finding.kind not in ("lost", "stale") for finding in self.findings)),
            ),
            ("time", f"{self.seconds:.0f} s"),
            ("verdict", self.verdict),
        ]


async def crash_loop(
    cluster: Cluster, *, kills: int, seed: int, progress: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Run against a cluster that is ready. All nodes are up again when it returns, unless `problem` says otherwise."""
    outcome, ledger, started = Outcome(), Ledger(), time.monotonic()
    try:
        async with load(cluster.topology.endpoints, ledger, seed):
            await _Killer(cluster, random.Random(seed), outcome, progress).run(kills)
        progress("comparing digests")
        outcome.convergence = await converge(cluster)
    except (NotConverged, LocalError) as error:
        outcome.problem = str(error)
    progress("reading every key through every node")
    nodes = {node.name: node.http for node in cluster.topology.nodes}
    checked = await audit(ledger, nodes) if outcome.problem is None else Audit(0, list(ledger.findings))
    outcome.findings, outcome.reads = checked.findings, checked.reads
    outcome.acknowledged, outcome.refused, outcome.unknown = ledger.acknowledged, ledger.refused, ledger.unknown
    outcome.keys = len(ledger)
    outcome.seconds = time.monotonic() - started
    return outcome


class _Killer:
    def __init__(self, cluster: Cluster, rng: random.Random, outcome: Outcome, progress: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._rng = rng
        self._outcome = outcome
        self._progress = progress

    async def run(self, kills: int) -> None:
        while self._outcome.kills < kills:
            await asyncio.sleep(self._rng.uniform(0, _RUN_S_MAX))
            await self._kill_one(kills)

    async def _kill_one(self, kills: int) -> None:
        aim_at_leader = self._rng.random() < _LEADER_SHARE
        victim = self._rng.choice(self._cluster.topology.names)
        leader = await asyncio.to_thread(self._cluster.leader)
        if aim_at_leader and leader is not None:
            victim = leader
        await self._kill(victim, "leader" if victim == leader else "not the leader")
        self._outcome.leader_kills += victim == leader
        while self._outcome.kills < kills and self._rng.random() < _AGAIN_SHARE:
            await asyncio.to_thread(self._cluster.start, victim)
            await asyncio.sleep(self._rng.uniform(0, _DOWN_S_MAX))
            await self._kill(victim, "starting")
            self._outcome.starting_kills += 1
        await asyncio.sleep(self._rng.uniform(0, _DOWN_S_MAX))
        started = time.monotonic()
        await asyncio.to_thread(self._cluster.restart, victim)
        self._outcome.slowest_start_s = max(self._outcome.slowest_start_s, time.monotonic() - started)

    async def _kill(self, victim: str, what: str) -> None:
        if not await asyncio.to_thread(self._cluster.kill, victim):
            raise _DiedByItself(f"{victim} was dead before it was killed:\n{self._cluster.log_tail(victim)}")
        self._outcome.kills += 1
        self._progress(f"kill {self._outcome.kills}: {victim} ({what})")


class _DiedByItself(LocalError):
    """A node ended without having been asked to."""


@click.command()
@click.option("--kills", type=click.IntRange(1), default=50, show_default=True)
@click.option("--nodes", type=click.IntRange(1, limits.MEMBERS_MAX), default=3, show_default=True)
@seed_option
@directory_option
def main(kills: int, nodes: int, seed: int, directory: Path | None) -> None:
    """Kill nodes at random moments under load, and check that no acknowledged write is lost.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "crashloop",
        directory,
        lambda where: bring_up(where, nodes, progress=say, env=NODE_SETTINGS),
        lambda cluster: crash_loop(cluster, kills=kills, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

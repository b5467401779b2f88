"""Writes at level ALL while one voter is paused: refused, or told to be committed without it; acknowledged never.

    python -m kvjepsen.allpaused --times 100

Half of the times a voter, leader or not, is stopped by SIGSTOP first, and then the write is sent: the answer must not
be 200. The other times it is stopped at a random moment while the write is under way, over links that are slow, so that
the moment falls anywhere between the drain and the last confirmation. Then 200 is right if, and only if, the voter has
the write: it must show it at level ONE as soon as it is woken.

An answer that says that the write is committed but not on every voter must name the paused one. After SIGCONT the state
must be what the answer said: `committed`, and the write is on all nodes; `not_applied`, and it is on none; `unknown`
allows both.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from kvcluster.faults import delay, heal
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.leaders import next_leader
from kvjepsen.plain import Connection
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_LEADER_SHARE: Final = 0.3
_SLOW_MS: Final = 20
_MOMENT_S_MAX: Final = 0.25
_WRITE_MS: Final = 2_500
_READ_S_MAX: Final = 30.0


class _Answer(NamedTuple):
    """Status, outcome and `missing` of a write."""

    status: int
    outcome: str
    missing: tuple[str, ...]


@dataclass
class AllPausedOutcome(Outcome):
    """What happened; `before` and `during` count the answers by what they said."""

    times: int = 0
    leaders: int = 0
    before: Counter[str] = field(default_factory=Counter)
    during: Counter[str] = field(default_factory=Counter)
    convergence: Convergence | None = None

    def enough(self) -> bool:
        return self.times > 0 and self.before.total() > 0 and self.during.total() > 0 and self.convergence is not None

    def counts(self) -> list[tuple[str, str]]:
        return [
            ("voters paused", f"{self.times}, of them leaders {self.leaders}"),
            *((f"paused before: {what}", str(count)) for what, count in sorted(self.before.items())),
            *((f"paused during: {what}", str(count)) for what, count in sorted(self.during.items())),
        ]


async def all_paused(
    cluster: Cluster, *, times: int, seed: int, progress: Progress = lambda line: None
) -> AllPausedOutcome:
    """Run against a cluster with link proxies that is ready; all nodes run again when this returns."""
    outcome, rng, started = AllPausedOutcome(), random.Random(seed), time.monotonic()
    try:
        for number in range(times):
            await _once(cluster, number, rng, outcome)
            progress(f"{number + 1} of {times}, {len(outcome.findings)} findings")
        outcome.convergence = await converge(cluster)
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
    finally:
        await asyncio.to_thread(heal, cluster.topology)
    outcome.seconds = time.monotonic() - started
    return outcome


async def _once(cluster: Cluster, number: int, rng: random.Random, outcome: AllPausedOutcome) -> None:
    topology, key, during = cluster.topology, b"paused/%d" % number, number % 2 == 1
    async with AsyncClient(topology.endpoints, timeout_s=_READ_S_MAX) as client:
        leader = await next_leader(client, topology.names)
        await client.put(key, b"before", level="all")
        followers = [name for name in topology.names if name != leader]
        sleeper = leader if rng.random() < _LEADER_SHARE else rng.choice(followers)
        asked = topology.node(rng.choice([name for name in topology.names if name != sleeper])).http_port
        answer, stopped_before = await _write(cluster, sleeper, asked, key, rng, during=during)
        if answer.status == 200 and stopped_before:
            outcome.findings.append(f"{number}: acknowledged at ALL while {sleeper} was paused")
        if answer.outcome == "committed" and answer.status != 200 and sleeper not in answer.missing:
            outcome.findings.append(f"{number}: {answer} does not name {sleeper}")
        await asyncio.to_thread(cluster.resume, sleeper)
        if answer.status == 200:
            async with AsyncClient([topology.node(sleeper).http], timeout_s=_READ_S_MAX) as woken:
                if await woken.get_value(key, level="one") != b"after":
                    outcome.findings.append(f"{number}: acknowledged at ALL, and {sleeper} does not have it")
        await asyncio.to_thread(heal, topology)
        await asyncio.to_thread(cluster.wait_ready, topology.names, _READ_S_MAX)
        outcome.findings += await _not_as_told(cluster, key, answer, f"{number}: {answer}")
    outcome.times += 1
    outcome.leaders += sleeper == leader
    (outcome.during if during else outcome.before)[f"{answer.status} {answer.outcome}"] += 1


async def _write(
    cluster: Cluster, sleeper: str, asked: int, key: bytes, rng: random.Random, *, during: bool
) -> tuple[_Answer, bool]:
    """The answer to one PUT, sent once, and whether the sleeper was stopped before it was sent."""
    if not during:
        await asyncio.to_thread(cluster.pause, sleeper)
        return await _put(asked, key), True
    await asyncio.to_thread(delay, cluster.topology, None, _SLOW_MS)
    writing = asyncio.create_task(_put(asked, key))
    await asyncio.wait([writing], timeout=rng.uniform(0, _MOMENT_S_MAX))
    await asyncio.to_thread(cluster.pause, sleeper)
    return await writing, False


async def _put(port: int, key: bytes) -> _Answer:
    """Over plain HTTP: no library tries again behind our back."""
    connection = await Connection.open(port)
    try:
        answer = await connection.ask("PUT", f"/v1/kv/{key.decode()}?level=all&timeout_ms={_WRITE_MS}", b"after")
    finally:
        connection.close()
    told: dict[str, Any] = answer.json()
    return _Answer(answer.status, told["outcome"], tuple(told.get("missing", ())))


async def _not_as_told(cluster: Cluster, key: bytes, answer: _Answer, what: str) -> list[str]:
    """Read every node, each after it has caught up: what contradicts the answer, or the others."""
    values: dict[str, bytes | None] = {}
    for node in cluster.topology.nodes:
        async with AsyncClient([node.http], timeout_s=_READ_S_MAX) as client:
            values[node.name] = await client.get_value(key)
    seen = set(values.values())
    allowed = {"committed": {b"after"}, "not_applied": {b"before"}}.get(answer.outcome, {b"before", b"after"})
    return [] if len(seen) == 1 and seen <= allowed else [f"{what}, but the nodes hold {values}"]


@click.command()
@click.option("--times", type=click.IntRange(1), default=100, show_default=True)
@seed_option
@directory_option
def main(times: int, seed: int, directory: Path | None) -> None:
    """Write at level ALL while a voter is paused; it must not be acknowledged, and the state must be as was told.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "allpaused",
        directory,
        lambda where: bring_up(where, 3, progress=say, proxy=True),
        lambda cluster: all_paused(cluster, times=times, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

"""R + W > N: which reads may miss which acknowledged writes, for all nine combinations of levels, under faults.

    python -m kvjepsen.levels --seconds 120

Each key has one writer and one write level. Writers and readers go to nodes at random, while nodes are killed, paused
and cut off. A *pair* is a read that was answered, with the newest write of its key that was acknowledged before the
read began. The read misses the write if it shows something older: a lower mod_revision; for a write at level ONE, which
gets none, an older value, unless the receipt says superseded.

A combination is promised if reader and writer meet in at least one node. So is ONE with ONE at the same node, which is
counted apart. A promised pair that misses is a finding. Of the others it is told how many missed.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.nemesis import Field, Nemesis
from kvstore.client import AsyncClient, WriteResult
from kvstore.client.http_transport import HttpTransport
from kvstore.client.stamps import StampedTransport
from kvstore.errors import CannotConnect, KvError, LocalError
from kvstore.model.results import Record

SETTINGS: Final = {"KV_SNAPSHOT_LOG_BYTES": str(1 << 18), "KV_LOG_KEEP_BYTES": str(1 << 16)}

LEVELS: Final = ("one", "quorum", "all")
SAME_NODE: Final = ("one", "one, same node")
PROMISED: Final = frozenset(
    {("one", "all"), ("quorum", "quorum"), ("quorum", "all"), ("all", "one"), ("all", "quorum"), ("all", "all")}
)

_KEYS_PER_LEVEL: Final = 3
_READERS: Final = 18
_CALM_S: Final = (0.3, 1.5)
_WRITE_S_MAX: Final = 2.0
_READ_S_MAX: Final = 1.5
_RECEIPT_S_MAX: Final = 30.0
_PAUSE_S: Final = 0.005
_PAIRS_MIN: Final = 20

Combination = tuple[str, str]


@dataclass
class LevelsOutcome(Outcome):
    """`pairs` that were checked and `missed` among them, for each (write level, read level)."""

    pairs: Counter[Combination] = field(default_factory=Counter)
    missed: Counter[Combination] = field(default_factory=Counter)
    undecided: int = 0
    superseded: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    convergence: Convergence | None = None

    def enough(self) -> bool:
        checked = min(self.pairs[each] for each in (*PROMISED, SAME_NODE))
        return checked >= _PAIRS_MIN and self.faults.total() > 0 and self.convergence is not None

    def counts(self) -> list[tuple[str, str]]:
        return [
            ("faults", ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))),
            ("writes acknowledged", ", ".join(f"{level} {self.acknowledged[level]:,}" for level in LEVELS)),
            *(self._row(each) for each in (*((write, read) for write in LEVELS for read in LEVELS), SAME_NODE)),
            ("missed, but superseded by its receipt", f"{self.superseded:,}"),
            ("undecided: a write of unknown outcome was read", f"{self.undecided:,}"),
        ]

    def _row(self, combination: Combination) -> tuple[str, str]:
        promised = combination in PROMISED or combination == SAME_NODE
        told = f"{self.pairs[combination]:>7,} pairs, {self.missed[combination]:>5,} missed"
        return f"write {combination[0]}, read {combination[1]}", told + ("   promised" if promised else "")


@dataclass
class _Key:
    """What is known of one key, whose values are the numbers of its writes."""

    name: bytes
    level: str
    written: int = 0
    newest: WriteResult | None = None
    newest_number: int = 0
    unknown: set[int] = field(default_factory=set)

    def shown(self, record: Record | None) -> int:
        """The number of the write that `record` shows, 0 for none."""
        return 0 if record is None else int(record.value)


async def levels(
    cluster: Cluster, *, seconds: float, seed: int, progress: Progress = lambda line: None
) -> LevelsOutcome:
    """Run against a cluster with link proxies that is ready; it is whole again when this returns."""
    outcome, rng, started = LevelsOutcome(), random.Random(seed), time.monotonic()
    nemesis = Nemesis(Field(cluster, rng, progress))
    keys = [_Key(b"%s/%d" % (level.encode(), n), level) for level in LEVELS for n in range(_KEYS_PER_LEVEL)]
    stop = asyncio.Event()
    run = _Run(cluster, keys, outcome, stop)
    tasks = [asyncio.create_task(run.write(key, random.Random(f"{seed}/{key.name!r}"))) for key in keys]
    tasks += [asyncio.create_task(run.read(random.Random(f"{seed}/{number}"))) for number in range(_READERS)]
    try:
        striking = asyncio.create_task(
            nemesis.run(("kill", "pause", "isolate", "one-way", "kill-leader"), _CALM_S, stop)
        )
        await asyncio.wait([striking], timeout=seconds)
        stop.set()
        await striking
        await asyncio.gather(*tasks)
        outcome.convergence = await converge(cluster)
        outcome.findings += await run.final()
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
    outcome.faults, outcome.seconds = nemesis.done, time.monotonic() - started
    return outcome


class _Run:
    """The writers and readers."""

    def __init__(self, cluster: Cluster, keys: list[_Key], outcome: LevelsOutcome, stop: asyncio.Event) -> None:
        self._nodes = {node.name: node.http for node in cluster.topology.nodes}
        self._keys = keys
        self._outcome = outcome
        self._stop = stop

    async def write(self, key: _Key, rng: random.Random) -> None:
        """Each time through another node first. One client in effect: what it has seen of one node, it tells the next
        (the stamps), without which the order of its writes at ONE would be that of the nodes' clocks.
        """
        async with self._clients() as clients:
            while not self._stop.is_set():
                key.written += 1
                client = clients[rng.choice(list(clients))]
                try:
                    result = await client.put(key.name, b"%d" % key.written, level=key.level, timeout_s=_WRITE_S_MAX)
                except (KvError, LocalError) as error:
                    applied_not = isinstance(error, KvError) and error.outcome == "not_applied"
                    if not (applied_not or isinstance(error, CannotConnect)):
                        key.unknown.add(key.written)
                    await asyncio.sleep(_PAUSE_S)
                    continue
                key.newest, key.newest_number = result, key.written
                self._outcome.acknowledged[key.level] += 1
                await asyncio.sleep(rng.uniform(0, 2 * _PAUSE_S))

    async def read(self, rng: random.Random) -> None:
        """Any key, level and node; never through another node than the one chosen."""
        async with self._clients(alone=True) as clients:
            while not self._stop.is_set():
                key, level, node = rng.choice(self._keys), rng.choice(LEVELS), rng.choice(list(clients))
                newest, number = key.newest, key.newest_number
                if newest is None:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                try:
                    record = await clients[node].get(key.name, level=level, timeout_s=_READ_S_MAX)
                except (KvError, LocalError):
                    await asyncio.sleep(_PAUSE_S)
                    continue
                await self._check(key, newest, number, level, node, record)

    @asynccontextmanager
    async def _clients(self, *, alone: bool = False) -> AsyncIterator[dict[str, AsyncClient]]:
        """By the node that each goes to first, or only."""
        line = StampedTransport(HttpTransport())
        async with AsyncExitStack() as stack:
            clients = {}
            for name, endpoint in self._nodes.items():
                others = [] if alone else [other for other in self._nodes.values() if other != endpoint]
                client = AsyncClient([endpoint, *others], transport=line, stamps=False)
                clients[name] = await stack.enter_async_context(client)
            yield clients

    async def _check(
        self, key: _Key, newest: WriteResult, number: int, level: str, node: str, record: Record | None
    ) -> None:
        outcome, combination = self._outcome, (key.level, level)
        if combination == ("one", "one") and newest.receipt is not None and newest.receipt.startswith(f"{node}."):
            combination = SAME_NODE
        shown = key.shown(record)
        if newest.revision is not None:
            missed = record is None or record.mod_revision < newest.revision
        else:
            missed = shown < number
            if missed and shown in key.unknown:
                outcome.undecided += 1  # it may have come later than the acknowledged one
                return
            if missed and combination in (*PROMISED, SAME_NODE) and await self._superseded(newest):
                outcome.superseded += 1
                missed = False
        outcome.pairs[combination] += 1
        outcome.missed[combination] += missed
        if missed and (combination in PROMISED or combination == SAME_NODE):
            outcome.findings.append(
                f"write {combination[0]}, read {combination[1]} at {node}: {key.name!r} shows write {shown} "
                f"({record}), not {number} ({newest})"
            )

    async def _superseded(self, newest: WriteResult) -> bool:
        assert newest.receipt is not None
        async with AsyncClient(list(self._nodes.values())) as client:
            return (await client.wait_receipt(newest.receipt, _RECEIPT_S_MAX)).state == "superseded"

    async def final(self) -> list[str]:
        """With every node up, no combination misses anything after a read at ALL has handed over what was pending."""
        findings = []
        async with AsyncClient(list(self._nodes.values()), timeout_s=_RECEIPT_S_MAX) as client:
            for key in self._keys:
                shown = key.shown(await client.get(key.name, level="all"))
                newest = key.newest
                if newest is None or shown >= key.newest_number or shown in key.unknown:
                    continue
                if newest.receipt is None or not await self._superseded(newest):
                    findings.append(f"in the end {key.name!r} shows write {shown}, not {key.newest_number}")
        return findings


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=120.0, show_default=True)
@seed_option
@directory_option
def main(seconds: float, seed: int, directory: Path | None) -> None:
    """Count, for every write level and read level, which reads missed an acknowledged write, under faults.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "levels",
        directory,
        lambda where: bring_up(where, 3, progress=say, proxy=True, env=SETTINGS),
        lambda cluster: levels(cluster, seconds=seconds, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

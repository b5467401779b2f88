"""Counters under a client library whose connections are cut all the time: each increment takes effect exactly once.

    python -m kvjepsen.counter --increments 10000

Every connection passes a proxy that resets it after a random number of bytes, in the middle of requests and of answers.
Meanwhile leaders are killed, and a node lags until it needs a snapshot. The increments, on keys that several clients
share:

    put    a put; the key's version counts
    cas    read, then a put of one more on condition that nothing came between; the value counts
    one    a put at level ONE; the key's version counts, once all is handed over. One that its receipt calls superseded
           (by one that another node took later, and handed over earlier) does not count, and is told of

Some increments get so little time that their outcome stays unknown. In the end each counter must stand between the
number of increments that were acknowledged and that with the unknown ones; and no two acknowledged ones may have been
given the same version, or value.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Final, Literal

import click

from kvcluster.lifecycle import bring_up
from kvcluster.link import Link
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.nemesis import Field, Nemesis
from kvstore.client import AsyncClient
from kvstore.client.http_transport import HttpTransport
from kvstore.client.wire import Broken, Reply, Request, TimedOut
from kvstore.errors import CannotConnect, KvError, LocalError, PreconditionFailed

SETTINGS: Final = {"KV_SNAPSHOT_LOG_BYTES": str(16 << 10), "KV_LOG_KEEP_BYTES": str(4 << 10)}

Kind = Literal["put", "cas", "one"]

_KINDS: Final[tuple[Kind, ...]] = ("put", "put", "cas", "one")
_WORKERS: Final = 16
_KEYS: Final = 4
_BYTES_BETWEEN_CUTS: Final = 6_000.0
_HURRIED_SHARE: Final = 0.02
_HURRIED_S: Final = 0.06
_PATIENT_S: Final = 60.0
_CALM_S: Final = (0.3, 1.5)
_CUTS_PER_INCREMENT_MIN: Final = 0.02


@dataclass
class CounterOutcome(Outcome):
    """What happened. `repeated`: acknowledged increments of which an earlier attempt had ended without an answer."""

    wanted: int = 0
    acknowledged: int = 0
    superseded: int = 0
    unknown: int = 0
    refused: int = 0
    repeated: int = 0
    retries: int = 0
    conflicts: int = 0
    cuts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    convergence: Convergence | None = None

    def enough(self) -> bool:
        struck = self.faults["kill-leader"] and self.faults["lag"] and self.repeated
        return bool(struck and self.convergence and self.cuts >= _CUTS_PER_INCREMENT_MIN * self.acknowledged)

    def counts(self) -> list[tuple[str, str]]:
        return [
            ("increments acknowledged", f"{self.acknowledged:,}, at least {self.wanted:,} wanted"),
            ("of these, ONE and superseded", f"{self.superseded:,}"),
            ("of unknown outcome", f"{self.unknown:,}"),
            ("refused, not applied", f"{self.refused:,}"),
            ("conditions that failed, and were read anew", f"{self.conflicts:,}"),
            ("connections cut", f"{self.cuts:,}"),
            ("attempts beyond the first", f"{self.retries:,}"),
            ("answers that came to a repetition", f"{self.repeated:,}"),
            ("leaders killed, snapshots installed", f"{self.faults['kill-leader']}, {self.faults['lag']}"),
        ]


async def counter(
    cluster: Cluster, *, increments: int, seed: int, progress: Progress = lambda line: None
) -> CounterOutcome:
    """Run against a cluster that is ready; all nodes are ready again when it returns, or `problem` says otherwise."""
    outcome, tally, started = CounterOutcome(wanted=increments), _Tally(), time.monotonic()
    rng = random.Random(seed)
    nemesis = Nemesis(Field(cluster, rng, progress))
    try:
        async with AsyncExitStack() as stack:
            links = [Link((HOST, 0), (HOST, node.http_port), _cutting(rng)) for node in cluster.topology.nodes]
            for link in links:
                await link.start()
                stack.push_async_callback(link.close)
            await _increment(links, tally, outcome, seed, nemesis)
            outcome.cuts = sum(link.cuts_total for link in links)
        outcome.convergence = await converge(cluster)
        async with AsyncClient(cluster.topology.endpoints) as client:
            outcome.superseded = await tally.settle(client)
            outcome.findings += await tally.findings(client)
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
    outcome.faults = nemesis.done
    outcome.acknowledged = sum(tally.acknowledged.values()) + outcome.superseded
    outcome.unknown = sum(tally.unknown.values())
    outcome.seconds = time.monotonic() - started
    return outcome


def _cutting(rng: random.Random) -> Callable[[], float]:
    return lambda: rng.expovariate(1 / _BYTES_BETWEEN_CUTS)


async def _increment(links: list[Link], tally: "_Tally", outcome: CounterOutcome, seed: int, nemesis: Nemesis) -> None:
    """All increments, and more until there was a fault of each kind."""
    turns = takewhile(lambda turn: turn < outcome.wanted or not {"kill-leader", "lag"} <= set(nemesis.done), count())
    stop = asyncio.Event()
    workers = [
        _Worker(number, links, tally, outcome, random.Random(f"{seed}/{number}")).run(turns)
        for number in range(_WORKERS)
    ]
    striking = asyncio.create_task(nemesis.run(("kill-leader", "lag"), _CALM_S, stop))
    try:
        await asyncio.gather(*workers)
    finally:
        stop.set()
        await striking


class _Tally:
    """What is known of each counter."""

    def __init__(self) -> None:
        self.acknowledged: Counter[bytes] = Counter()
        self.unknown: Counter[bytes] = Counter()
        self._given: dict[bytes, set[int]] = {}
        self._receipts: list[tuple[bytes, str]] = []
        self._wrong: list[str] = []

    def done(self, key: bytes, stands: int) -> None:
        """Acknowledged, and the counter stood at `stands` then."""
        self.acknowledged[key] += 1
        self._give(key, stands)

    def accepted(self, key: bytes, receipt: str) -> None:
        """Acknowledged at level ONE: what became of it is asked in the end."""
        self.acknowledged[key] += 1
        self._receipts.append((key, receipt))

    def _give(self, key: bytes, number: int) -> None:
        given = self._given.setdefault(key, set())
        if number in given:
            self._wrong.append(f"{key!r}: two increments were given the number {number}")
        given.add(number)

    async def settle(self, client: AsyncClient) -> int:
        """Ask for all receipts: how many writes at level ONE were superseded, which then do not count."""
        superseded = 0
        for key, receipt in self._receipts:
            found = await client.wait_receipt(receipt, _PATIENT_S)
            if found.state == "committed" and found.revision is not None:
                self._give(key, found.revision)
            elif found.state == "superseded" and found.reason is None:
                superseded += 1
                self.acknowledged[key] -= 1
            else:
                self._wrong.append(f"the receipt {receipt} says {found.state} ({found.reason})")
        return superseded

    async def findings(self, client: AsyncClient) -> list[str]:
        """What is wrong with the counters as they stand now, once settled."""
        found = list(self._wrong)
        for key in sorted(self.acknowledged | self.unknown):
            record = await client.get(key, level="all", timeout_s=_PATIENT_S)
            stands = 0 if record is None else int(record.value) if key.startswith(b"cas") else record.version
            low, high = self.acknowledged[key], self.acknowledged[key] + self.unknown[key]
            if not low <= stands <= high or (record is not None and stands != record.version):
                found.append(f"{key!r} stands at {stands}, not between {low} and {high}: {record}")
        return found


class _Worker:
    """One client, one increment after the other."""

    def __init__(
        self, number: int, links: list[Link], tally: _Tally, outcome: CounterOutcome, rng: random.Random
    ) -> None:
        self._kind: Kind = _KINDS[number % len(_KINDS)]
        turn = number % len(links)
        self._endpoints = [f"http://{HOST}:{link.port}" for link in [*links[turn:], *links[:turn]]]
        self._tally = tally
        self._outcome = outcome
        self._rng = rng
        self._line = _Line()

    async def run(self, turns: Iterator[int]) -> None:
        async with AsyncClient(self._endpoints, transport=self._line) as client:
            for _ in turns:
                key = b"%s/%d" % (self._kind.encode(), self._rng.randrange(_KEYS))
                await self._once(client, key)
            self._outcome.retries += client.retries

    async def _once(self, client: AsyncClient, key: bytes) -> None:
        timeout_s = _HURRIED_S if self._rng.random() < _HURRIED_SHARE else _PATIENT_S
        while True:
            lost = self._line.lost
            try:
                await self._attempt(client, key, timeout_s)
            except PreconditionFailed:
                self._outcome.conflicts += 1
                continue
            except (KvError, LocalError) as error:
                if isinstance(error, CannotConnect) or (isinstance(error, KvError) and error.outcome != "unknown"):
                    self._outcome.refused += 1
                    timeout_s = _PATIENT_S
                    continue
                self._tally.unknown[key] += 1
                return
            self._outcome.repeated += self._line.lost > lost
            return

    async def _attempt(self, client: AsyncClient, key: bytes, timeout_s: float) -> None:
        """One increment, noted if it was acknowledged. Raises KvError, or an error of the client library."""
        if self._kind == "one":
            accepted = await client.put(key, b"x", level="one", timeout_s=timeout_s)
            assert accepted.receipt is not None
            self._tally.accepted(key, accepted.receipt)
        elif self._kind == "put":
            written = await client.put(key, b"x", timeout_s=timeout_s)
            assert written.version is not None
            self._tally.done(key, written.version)
        else:
            record = await client.get(key, timeout_s=_PATIENT_S)
            if record is None:
                await client.put(key, b"1", if_absent=True, timeout_s=timeout_s)
                self._tally.done(key, 1)
            else:
                stands = int(record.value) + 1
                await client.put(key, b"%d" % stands, if_revision=record.mod_revision, timeout_s=timeout_s)
                self._tally.done(key, stands)


class _Line(HttpTransport):
    """Counts the writes that were sent and not answered."""

    lost = 0

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        try:
            return await super().send(endpoint, request, total_s=total_s, idle_s=idle_s)
        except (Broken, TimedOut):
            self.lost += request.write
            raise


@click.command()
@click.option("--increments", type=click.IntRange(1), default=10_000, show_default=True)
@seed_option
@directory_option
def main(increments: int, seed: int, directory: Path | None) -> None:
    """Count through connections that are cut all the time; every acknowledged increment must count once.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "counter",
        directory,
        lambda where: bring_up(where, 3, progress=say, env=SETTINGS),
        lambda cluster: counter(cluster, increments=increments, seed=seed, progress=say),
    )


if __name__ == "__main__":
    main()

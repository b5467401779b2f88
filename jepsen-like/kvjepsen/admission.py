"""More writers than slow disks can serve: memory stays bounded, and every answer says what is so.

    python -m kvjepsen.admission --connections 2000 --value-bytes 10240
    python -m kvjepsen.admission --connections 300 --value-bytes 1048576

Every fsync takes 50 to 200 ms longer (faulty.py). Each connection writes to a key of its own as fast as
it is answered, half of them through the leader, the others through the rest. What is refused with 429 must say that it
was not applied and when to come back; what is admitted must end by its deadline, with 200 or with an outcome that is
unknown. In the end every acknowledged write is there, and no refused one is: the durability ledger, at every node.

At last the disk is quick again, and one client's writes are timed twice: alone, and beside others that ask for large
values and hardly read the answers.
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
import numpy

from kvcluster import probe
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster, NotReady
from kvcluster.topology import NodeSpec
from kvjepsen.audit import audit
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.faulty import PROGRAM, order
from kvjepsen.frame import Outcome, Progress, conduct, directory_option, say, seed_option
from kvjepsen.ledger import Ledger
from kvjepsen.plain import Answer, Connection
from kvstore import limits
from kvstore.errors import KvError, LocalError

_SLOW_SYNC_MS: Final = (50, 200)
_DEADLINE_S: Final = 3.0
# The body is read before the deadline runs, and this process has to get round to the answer.
_LATE_S: Final = 3.0
_LATE_SHARE_MAX: Final = 0.01
_SAMPLE_S: Final = 0.05
# A machine that is busy with other things may need this many times as long to answer enough writes to judge.
_LONGER_MAX: Final = 10
_PAUSE_S: Final = (0.2, 1.0)
_SLOW_READERS: Final = 64
_SLOW_READ_BYTES: Final = 1_024
_TIMED_S: Final = 3.0

# What a node without load takes, the log that it keeps in memory, and copies on the way between queues.
_BASE_BYTES: Final = 256 << 20
RSS_BYTES_MAX: Final = (
    _BASE_BYTES
    + limits.HTTP_BODIES_BYTES_MAX
    + 2 * limits.PROPOSALS_PENDING_BYTES_MAX
    + 2 * limits.PEER_BUFFER_BYTES_MAX
)


@dataclass
class AdmissionOutcome(Outcome):
    """What happened. `answers` counts by status and outcome; `data_bytes` is what the keys hold in the end."""

    connections: int = 0
    value_bytes: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    slowest_s: float = 0.0
    late: int = 0
    node_late: int = 0
    data_bytes: int = 0
    rss_before: int = 0
    rss_max: int = 0
    reads: int = 0
    alone_ms: tuple[float, float] = (0.0, 0.0)
    beside_ms: tuple[float, float] = (0.0, 0.0)
    convergence: Convergence | None = None

    @property
    def rss_bound(self) -> int:
        """The bound on the leader's memory, with the data itself: twice, because a snapshot copies what changes."""
        return RSS_BYTES_MAX + 2 * self.data_bytes

    def enough(self) -> bool:
        return self.loaded and self.convergence is not None

    @property
    def loaded(self) -> bool:
        """Whether enough was committed to judge."""
        return self.answers["200 committed"] >= self.connections // 2

    def counts(self) -> list[tuple[str, str]]:
        mib = 1 << 20
        return [
            ("connections, bytes of a value", f"{self.connections:,}, {self.value_bytes:,}"),
            *((f"answers: {what}", f"{count:,}") for what, count in sorted(self.answers.items())),
            ("connections that broke", f"{self.broken:,}"),
            ("slowest answer", f"{self.slowest_s:.2f} s; the deadline is {_DEADLINE_S:g} s; late {self.late}"),
            ("took a node over 5 s, by its own clock", f"{self.node_late:,}"),
            ("the keys hold", f"{self.data_bytes / mib:,.0f} MiB"),
            ("leader's RSS before, at most", f"{self.rss_before / mib:,.0f} MiB, {self.rss_max / mib:,.0f} MiB"),
            ("reads to check", f"{self.reads:,}"),
            ("one client's puts, median and p99", "alone {:.1f} ms, {:.1f} ms".format(*self.alone_ms)),
            (f"beside {_SLOW_READERS} slow readers", "{:.1f} ms, {:.1f} ms".format(*self.beside_ms)),
        ]


async def admission(
    cluster: Cluster,
    *,
    connections: int,
    value_bytes: int,
    seconds: float,
    seed: int,
    progress: Progress = lambda line: None,
) -> AdmissionOutcome:
    """Run against a cluster of PROGRAM that is ready."""
    outcome, started = AdmissionOutcome(connections=connections, value_bytes=value_bytes), time.monotonic()
    ledger = Ledger()
    try:
        leader = await asyncio.to_thread(cluster.leader)
        assert leader is not None
        await _slow(cluster, _SLOW_SYNC_MS)
        progress(f"{connections} writers, {leader} leads, all disks are slow")
        await _load(cluster, leader, ledger, outcome, seconds, seed)
        await _slow(cluster, (0, 0))
        outcome.node_late = sum([await _over_5_s(node) for node in cluster.topology.nodes])
        progress("checking")
        outcome.convergence = await converge(cluster)
        checked = await audit(ledger, {node.name: node.http for node in cluster.topology.nodes}, ["one"])
        outcome.reads, outcome.data_bytes = checked.reads, len(ledger) * value_bytes
        outcome.findings += [
            f"{found.kind}: {found.key!r}, {found.where}: {found.detail}" for found in checked.findings
        ]
        if outcome.rss_max > outcome.rss_bound:
            outcome.findings.append(f"the leader took {outcome.rss_max:,} bytes, more than {outcome.rss_bound:,}")
        if outcome.node_late > _LATE_SHARE_MAX * outcome.answers.total():
            outcome.findings.append(f"{outcome.node_late} puts took a node more than 5 s: deadlines are not kept")
        progress("timing one client beside slow readers")
        await _time_beside_slow_readers(cluster.topology.node(leader), outcome)
    except (NotConverged, KvError, LocalError) as error:
        outcome.problem = str(error)
    outcome.seconds = time.monotonic() - started
    return outcome


async def _slow(cluster: Cluster, slow_sync_ms: tuple[int, int]) -> None:
    for name in cluster.topology.names:
        await asyncio.to_thread(order, cluster, name, slow_sync_ms=slow_sync_ms)


async def _load(
    cluster: Cluster, leader: str, ledger: Ledger, outcome: AdmissionOutcome, seconds: float, seed: int
) -> None:
    """All writers for so long at least, and until enough is committed; the leader's memory meanwhile.

    Each finishes the write that it has under way.
    """
    process = cluster.process(leader)
    assert process is not None
    outcome.rss_before = outcome.rss_max = _rss(process.pid)
    stop, nodes = asyncio.Event(), cluster.topology.nodes
    doors = [cluster.topology.node(leader), *(node for node in nodes if node.name != leader)]
    filler = random.Random(seed).randbytes(outcome.value_bytes)
    writers = [
        asyncio.create_task(
            _Writer(number, doors[0] if number % 2 == 0 else doors[1 + number // 2 % 2], filler, ledger, outcome).run(
                stop
            )
        )
        for number in range(outcome.connections)
    ]
    begun = time.monotonic()
    while not all(writer.done() for writer in writers):
        if time.monotonic() - begun >= (seconds if outcome.loaded else seconds * _LONGER_MAX):
            stop.set()
        outcome.rss_max = max(outcome.rss_max, _rss(process.pid))
        await asyncio.sleep(_SAMPLE_S)
    await asyncio.gather(*writers)


async def _over_5_s(node: NodeSpec) -> int:
    """How many puts took this node more than that, from their head to their answer."""
    name, labels = "kv_http_request_seconds", 'level="quorum",method="PUT",route="/v1/kv/{key}"'
    every = await asyncio.to_thread(probe.metric, node, f"{name}_count{{{labels}}}")
    within = await asyncio.to_thread(probe.metric, node, f'{name}_bucket{{le="5.0",{labels}}}')
    if every is None or within is None:
        raise NotReady(f"{node.name} does not say how long its puts took")
    return int(every - within)


def _rss(pid: int) -> int:
    """Bytes of memory of a process that are in use now."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) << 10


class _Writer:
    """One connection with a key of its own; a new one when it breaks."""

    def __init__(self, number: int, door: NodeSpec, filler: bytes, ledger: Ledger, outcome: AdmissionOutcome) -> None:
        self._key = b"admission/%d" % number
        self._door = door
        self._filler = filler
        self._ledger = ledger
        self._outcome = outcome
        self._connection: Connection | None = None
        self._written = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._written += 1
            head = b"%d " % self._written
            if await self._write(head + self._filler[len(head) :]):
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), random.uniform(*_PAUSE_S))
        self._drop()

    async def _write(self, value: bytes) -> bool:
        """Whether it was acknowledged."""
        attempt = self._ledger.attempt(self._key, value)
        begun = time.monotonic()
        try:
            if self._connection is None:
                self._connection = await Connection.open(self._door.http_port)
            target = f"/v1/kv/{self._key.decode()}?timeout_ms={int(_DEADLINE_S * 1000)}"
            answer = await self._connection.ask("PUT", target, value)
        except (OSError, EOFError):
            self._outcome.broken += 1
            self._drop()
            return False
        if answer.headers.get("connection", "").lower() == "close":
            self._drop()
        self._note_time(time.monotonic() - begun)
        told = answer.json()
        self._outcome.answers[f"{answer.status} {told['outcome']}"] += 1
        if answer.status == 200:
            self._ledger.acknowledge(attempt, told["revision"], "quorum")
        elif told["outcome"] == "not_applied":
            self._ledger.refuse(attempt)
        self._judge(answer, told["outcome"])
        return answer.status == 200

    def _note_time(self, took_s: float) -> None:
        self._outcome.slowest_s = max(self._outcome.slowest_s, took_s)
        self._outcome.late += took_s > _DEADLINE_S + _LATE_S

    def _judge(self, answer: Answer, told: str) -> None:
        wrong = None
        if answer.status == 429 and (told != "not_applied" or int(answer.headers.get("retry-after", "0")) < 1):
            wrong = f"429 that says {told}, Retry-After {answer.headers.get('retry-after')}"
        elif answer.status == 504 and told != "unknown":
            wrong = f"504 that says {told}"
        elif answer.status not in (200, 429, 503, 504):
            wrong = f"{answer.status}: {answer.body[:200]!r}"
        if wrong is not None:
            self._outcome.findings.append(f"{self._key!r}: {wrong}")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def _time_beside_slow_readers(node: NodeSpec, outcome: AdmissionOutcome) -> None:
    """Side by side in one run: the second figure is to be like the first."""
    connection = await Connection.open(node.http_port)
    await connection.ask("PUT", "/v1/kv/large", bytes(limits.VALUE_BYTES_MAX))
    outcome.alone_ms = await _timed(connection)
    readers = [asyncio.create_task(_read_slowly(node.http_port)) for _ in range(_SLOW_READERS)]
    await asyncio.sleep(_TIMED_S / 3)
    outcome.beside_ms = await _timed(connection)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    connection.close()


async def _timed(connection: Connection) -> tuple[float, float]:
    """Median and p99 of one put after the other, in milliseconds."""
    times = []
    until = time.monotonic() + _TIMED_S
    while (begun := time.monotonic()) < until:
        await connection.ask("PUT", "/v1/kv/timed", b"x")
        times.append(time.monotonic() - begun)
    median, p99 = numpy.percentile(times, [50, 99]) * 1_000
    return float(median), float(p99)


async def _read_slowly(port: int) -> None:
    """Ask for large values all the time, and read a kilobyte of the answers every tenth of a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_SLOW_READ_BYTES)
    try:
        writer.write(b"GET /v1/kv/large?level=one HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
        while True:
            await reader.read(_SLOW_READ_BYTES)
            await asyncio.sleep(0.1)
    finally:
        writer.close()


@click.command()
@click.option("--connections", type=click.IntRange(1, 8_000), default=2_000, show_default=True)
@click.option("--value-bytes", type=click.IntRange(64, limits.VALUE_BYTES_MAX), default=10_240, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True)
@seed_option
@directory_option
def main(connections: int, value_bytes: int, seconds: float, seed: int, directory: Path | None) -> None:
    """Overload a cluster with slow disks; memory stays bounded, and every answer says what is so.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    conduct(
        "admission",
        directory,
        lambda where: bring_up(where, 3, progress=say, program=PROGRAM),
        lambda cluster: admission(
            cluster, connections=connections, value_bytes=value_bytes, seconds=seconds, seed=seed, progress=say
        ),
    )


if __name__ == "__main__":
    main()

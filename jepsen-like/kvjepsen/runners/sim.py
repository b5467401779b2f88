"""One run on a simulated cluster: seed -> plan -> faults and operations -> everything heals -> checks.

The same plan gives the same trace, to the byte; `Result.trace_hash` covers every piece of data that was delivered,
every fault and every answer.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from kvjepsen.history import Answered, History
from kvjepsen.mutants import MUTANTS, OCCASIONS
from kvjepsen.runners.sim_clients import Clients
from kvjepsen.runners.sim_faults import Faults
from kvjepsen.schedule import PUT, Operation, Schedule, make_schedule
from kvstore import limits
from kvstore.consensus import membership
from kvstore.state import snapshot
from kvstore.testing import InvariantBroken, NodeFailed, NothingLeft, OutOfTime, SimCluster
from kvstore.testing.process import silence_logs
from kvstore.testing.sim_network import short

HEAL_S_MAX: Final = 30.0


# Bounds so small that a few entries meet them.
TIGHT: Final[dict[str, Any]] = {
    "SNAPSHOT_CHUNK_BYTES": 300,
    "SNAPSHOT_CHUNKS_AHEAD_MAX": 2,
    "APPEND_ENTRIES_MAX": 3,
    "APPEND_BYTES_MAX": 500,
    "IN_FLIGHT_MESSAGES_MAX": 3,
    "APPLY_SLICE_ENTRIES_MAX": 2,
    "INBOX_MESSAGES_MAX": 4,
    "ENTRY_OPS_MAX": 2,
}


@contextmanager
def _tight_bounds() -> Iterator[None]:
    with (
        mock.patch.multiple(limits, **TIGHT),
        mock.patch.object(snapshot, "SNAPSHOT_FRAME_RECORDS", 2),
        mock.patch.object(membership, "PROMOTE_ENTRIES_MAX", 5),
    ):
        yield


class NotHealed(AssertionError):
    """Everything was put right, but the cluster did not come to agree, or to take writes."""


@dataclass(slots=True)
class Result:
    """How a run ended. `problem` is None, or what was broken, in one line."""

    seed: int
    problem: str | None
    trace_hash: str
    simulated_s: float
    counts: dict[str, int] = field(default_factory=dict)


class Run:
    """One run. `trace` gets lines for people; without it only the hash is kept."""

    def __init__(self, schedule: Schedule, trace: Callable[[str], None] | None = None) -> None:
        self.schedule = schedule
        self._hash = hashlib.blake2b(digest_size=16)
        self._trace = trace
        self.cluster = SimCluster(schedule.nodes, seed=schedule.seed, spares=schedule.spares, trace=self._note)
        self.cluster.network.trace = self._delivered
        self.history = History()
        self.faults = Faults(self.cluster, schedule.nodes)
        self.clients = Clients(self.cluster, self.history, schedule, self._voters, self._saw)

    def _note(self, line: str) -> None:
        self._hash.update(line.encode())
        if self._trace is not None:
            self._trace(line)

    def _delivered(self, source: str, target: str, data: bytes) -> None:
        self._hash.update(f"{self.cluster.time.now!r}{source}{target}".encode())
        self._hash.update(data)
        if self._trace is not None:
            self._trace(f"{self.cluster.time.now:10.6f}   {source} > {target} {len(data)} bytes {short(data)}")

    def _saw(self, answered: Answered) -> None:
        if self._trace is not None:
            self._note(f"{self.cluster.time.now:10.6f} {answered}")
        else:
            self._hash.update(f"{answered.outcome}{answered.revision}".encode())

    def execute(self) -> Result:
        """Carry out the plan and check."""
        problem = None
        try:
            with _tight_bounds() if self.schedule.tight else nullcontext():
                self._execute()
        except (InvariantBroken, NodeFailed, NotHealed, OutOfTime, NothingLeft) as broken:
            problem = f"{type(broken).__name__}: {broken}"
        except AssertionError as broken:
            problem = f"{type(broken).__name__}: {broken}"
        counts = self.history.counts()
        counts["elections"] = self.cluster.invariants.elections_total
        counts["entries"] = len(self.cluster.invariants.committed)
        counts["faults"] = self.faults.total
        counts["crashes"] = self.cluster.crashes_total
        counts["delivered"] = self.cluster.network.delivered_total
        counts["lost"] = self.cluster.network.lost_total
        if problem is not None:
            self._note(f"problem: {problem}")
        self.cluster.close()
        return Result(self.schedule.seed, problem, self._hash.hexdigest(), self.cluster.time.now, counts)

    def _execute(self) -> None:
        cluster = self.cluster
        cluster.start_all()
        for fault in self.schedule.faults:
            cluster.loop.call_later(fault.at_s, self.faults.strike, fault)
        cluster.run(self.clients.run(), timeout_s=600.0)
        last = max((fault.until_s for fault in self.schedule.faults), default=0.0)
        if last >= cluster.time.now:
            cluster.run_for(last - cluster.time.now + 0.001)
        self.faults.heal()
        cluster.run(self._agree(), timeout_s=2 * HEAL_S_MAX)
        machine = self.history.check(cluster.invariants.committed, frozenset(cluster.wiped))
        index, digest = max(cluster.digests().values())
        if (machine.applied_index, machine.digest) != (index, digest):
            raise NotHealed(f"the nodes hold digest {digest:x} at {index}, the log gives {machine.digest:x}")

    def _voters(self) -> tuple[str, ...]:
        """The voters as the leader knows them. Who was removed may not know it, and promises nothing."""
        leader = self.cluster.leader()
        node = None if leader is None else self.cluster.node(leader)
        return () if node is None else node.engine.configuration.voters

    # -- the end

    async def _members(self, until_s: float) -> tuple[str, ...]:
        """Who is a voter at the end. A lost disk that nobody has replaced is taken out; nobody else goes."""
        cluster = self.cluster
        while cluster.time.now < until_s:
            await asyncio.sleep(0.2)
            leader = cluster.leader()
            node = cluster.node(leader) if leader else None
            if leader is None or node is None:
                continue
            configuration = node.engine.configuration
            lost = [
                name for name in sorted(cluster.wiped - self.faults.started) if configuration.member(name) is not None
            ]
            if lost:
                await self._remove_lost(leader, lost[0])
            elif len(configuration.voters) == len(configuration.members):
                return configuration.voters
        raise NotHealed(f"the members are still changing after {HEAL_S_MAX:.0f} s")

    async def _remove_lost(self, asked: str, name: str) -> None:
        await self.faults.ask(
            asked, lambda node: node.membership.remove(name, 0.8, force=True), self.cluster.time.now + 2.0
        )

    async def _agree(self) -> None:
        """A write at level ALL through every voter, then one content everywhere."""
        cluster = self.cluster
        until = cluster.time.now + HEAL_S_MAX
        voters = await self._members(until)
        self.faults.started &= set(voters)
        for name in [name for name in cluster.processes if name not in voters]:
            cluster.kill(name)
        for number, name in enumerate(voters):
            attempt = 0
            while True:
                attempt += 1
                last = Operation(0.05, PUT, "k0", name, "all", None, 0, 2.0)
                await asyncio.sleep(last.pause_s)
                await self.clients.operate(last, f"last.{number}.{attempt}.".encode())
                if self.history.answers[-1].outcome == "ok":
                    break
                if cluster.time.now > until:
                    raise NotHealed(f"no write at level all through {name} in {HEAL_S_MAX:.0f} s")
        while not cluster.converged(voters):
            if cluster.time.now > until:
                raise NotHealed(f"the nodes do not agree: {cluster.digests()}")
            await asyncio.sleep(0.05)
        await self.clients.ask_for_receipts(voters)


def run(schedule: Schedule, mutant: str | None = None, trace: Callable[[str], None] | None = None) -> Result:
    """Carry out `schedule`, with the rule that `mutant` names switched off, if given (kvjepsen.mutants).

    Logs are switched off for good in this process.
    """
    silence_logs()
    with {**MUTANTS, **OCCASIONS}[mutant]() if mutant else nullcontext():
        return Run(schedule, trace).execute()


def simulate(
    seed: int, *, members: bool = False, mutant: str | None = None, trace: Callable[[str], None] | None = None
) -> Result:
    """The run of one seed."""
    return run(make_schedule(seed, members=members), mutant, trace)

"""A run against real processes: load, faults in the middle, healing, final reads, checks, a folder with all of it.

    OUT/results.json    what was done, seen and judged
    OUT/report.html     the same for people
    OUT/history.jsonl   every operation, fault and observation (docs/history-format.md)
    OUT/cluster/        data and logs of the nodes, deleted after a pass

Phases: `before` (12 % of the time, 2 s at least, calm), `faults`, `after` (as long as `before`, healed), `final`.
"""

import asyncio
import json
import platform
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import msgspec

from kvcluster.lifecycle import bring_up, purge
from kvcluster.supervisor import Cluster
from kvjepsen import attaching, capabilities, faulty, held_disk, judge, mutated, report
from kvjepsen.access import OPEN, Access, Seal, close_doors
from kvjepsen.capabilities import Capability, Need
from kvjepsen.convergence import NotConverged, converge
from kvjepsen.formats import read_history
from kvjepsen.judge import Phase, RunVerdict
from kvjepsen.nemesis import FAULTS, Fault, Field, Injury, Nemesis, parts
from kvjepsen.nemesis.power import Power
from kvjepsen.observer import Observer
from kvjepsen.plan import BadPlan, Plan
from kvjepsen.records import Recorder
from kvjepsen.report.results import RESULTS
from kvjepsen.report.run import HISTORY
from kvjepsen.server_mutants import MUTANTS
from kvjepsen.workloads import REDIS, WORKLOADS, Arena, Workload
from kvstore import __version__
from kvstore.errors import KvError, LocalError
from kvstore.vault.envelope import NO_KEYS, Vault

# Small logs and snapshots, so that both happen within seconds.
SETTINGS: Final = {"KV_SNAPSHOT_LOG_BYTES": str(1 << 18), "KV_LOG_KEEP_BYTES": str(1 << 16)}

_CALM_SHARE: Final = 0.12
_CALM_PHASE_S_MIN: Final = 2.0
_CALM_S: Final = (0.05, 0.5)
_STATUS_S: Final = 0.25
_LAST_WRITE_S_MAX: Final = 20.0


@dataclass
class Status:
    """What goes on now, for whoever looks."""

    phase: str = "starting"
    elapsed_s: float = 0.0
    ok: int = 0
    refused: int = 0
    unknown: int = 0
    fault: str = ""
    faults: int = 0
    leader: str | None = None
    load_s: float = 0.0
    """How long there will have been load, as far as can be said; nobody knows how long the final reads take."""


@dataclass
class _Run:
    """What a run leaves behind."""

    started: datetime
    skipped: list[tuple[str, str]]
    capabilities: list[Capability]
    phases: list[Phase] = field(default_factory=list)
    injuries: list[Injury] = field(default_factory=list)
    last_write: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class Told:
    """What came out, and where it is. `document` is results.json."""

    verdict: RunVerdict
    directory: Path
    document: dict[str, Any]


class _Way(NamedTuple):
    """To the nodes: their URLs by name, how one gets in, and what opens their files."""

    nodes: dict[str, str]
    access: Access
    vault: Vault


def run(
    plan: Plan,
    out: Path,
    *,
    watch: Callable[[Status], None] = lambda status: None,
    say: Callable[[str], None] = lambda line: None,
    endpoints: tuple[str, ...] = (),
    access: Access = OPEN,
    mutant: str | None = None,
) -> Told:
    """Start a cluster in `out`, or take the one behind `endpoints`, which must be all its nodes; and do what the plan
    says. Raises BadPlan, NotReady, OSError; NobodyThere, Unauthenticated or Forbidden if nothing can be done at
    `endpoints`. `access`: how one gets in there. `mutant`: a bug to build in.
    """
    if REDIS in plan.doors and endpoints:
        raise BadPlan("the Redis door is used of a cluster only that the run starts itself")
    if plan.sealed and endpoints:
        raise BadPlan("only a cluster that the run starts itself can be sealed by it")
    if plan.sealed and mutant == "stock":
        raise BadPlan("the published engine cannot be sealed")
    if REDIS in plan.doors and mutant == "stock":
        raise BadPlan("the published engine has no Redis door")
    obeys = mutant is None or MUTANTS[mutant][1].program == mutated.PROGRAM
    plan = _with_disks(plan.checked()) if obeys else plan.checked()
    if endpoints:
        there = _nodes(None, endpoints)
        plan = msgspec.structs.replace(plan, nodes=len(there))
        for line in attaching.announced(plan, there, asyncio.run(attaching.greet(there, access))):
            say(line)
    out.mkdir(parents=True, exist_ok=True)
    cluster: Cluster | None = None
    seal: Seal | None = None
    home = out / "cluster"
    if not endpoints:
        try:
            env = {**SETTINGS, **({held_disk.VARIABLE: "1"} if plan.held_disks else {})}
            env |= {} if mutant is None else {mutated.VARIABLE: mutant}
            if plan.sealed:
                seal = Seal(home)
                env |= seal.env
            program = faulty.PROGRAM if mutant is None else MUTANTS[mutant][1].program
            redis = REDIS in plan.doors
            cluster = bring_up(home, plan.nodes, env=env, proxy=True, redis=redis, tls=plan.sealed, program=program)
            if plan.sealed:
                access = close_doors(cluster)
        except BaseException:
            if (home / "cluster.json").exists():
                Cluster.open(home).down()
            raise
    told: Told | None = None
    try:
        way = _Way(_nodes(cluster, endpoints), access, NO_KEYS if seal is None else seal.vault)
        told = asyncio.run(_conduct(plan, out, cluster, way, watch, say, obeys))
    finally:
        if cluster is not None and told is not None and told.verdict == "passed":
            cluster.down()
            if seal is not None:
                seal.forget()
            purge(cluster)
        elif cluster is not None:
            cluster.down()
    return told


def _with_disks(plan: Plan) -> Plan:
    """The plan, with disks that lose power by themselves if it is to go and no image can be mounted."""
    held = Power.name in plan.faults and bool(capabilities.no_mounts())
    return msgspec.structs.replace(plan, held_disks=plan.held_disks or held)


def _nodes(cluster: Cluster | None, endpoints: tuple[str, ...]) -> dict[str, str]:
    """URLs by name; what others have started goes by its address."""
    if cluster is None:
        return {endpoint.partition("://")[2]: endpoint for endpoint in endpoints}
    return {node.name: node.http for node in cluster.topology.nodes}


def _redis_doors(cluster: Cluster | None) -> dict[str, str]:
    """HOST:PORT by name, of the nodes that have one."""
    nodes = () if cluster is None else cluster.topology.nodes
    return {node.name: node.redis for node in nodes if node.redis is not None}


async def _conduct(
    plan: Plan,
    out: Path,
    cluster: Cluster | None,
    way: "_Way",
    watch: Callable[[Status], None],
    say: Callable[[str], None],
    obeys: bool,
) -> Told:
    nodes = way.nodes
    there = capabilities.probe(cluster, obeys=obeys)
    faults, skipped = _possible(plan, there, len(nodes))
    for name, why in skipped:
        say(f"skipped: {name}, because {why}")
    begun = time.monotonic()
    left = _Run(datetime.now(UTC), skipped, there)
    with (out / HISTORY).open("wb") as sink:
        await _Conductor(plan, cluster, way, sink, left, watch, say).run(faults)
    say("checking")
    history = read_history(out / HISTORY)
    found = judge.checks(history, [WORKLOADS[name] for name in plan.workloads])
    doubts = judge.too_little(
        history, left.phases, left.injuries, faults_wanted=bool(plan.faults), last_write=left.last_write
    )
    verdict = judge.verdict(found, doubts, left.problem)
    document = {
        "version": 1,
        "verdict": verdict,
        "scenario": plan.scenario or None,
        "title": msgspec.structs.replace(plan, faults=tuple(faults)).name,
        "command": plan.command(() if cluster is not None else tuple(nodes.values())),
        "seed": plan.seed,
        "kvstore": __version__,
        "python": platform.python_version(),
        "nodes": list(nodes),
        "workloads": list(plan.workloads),
        "doors": list(plan.doors),
        "sealed": plan.sealed,
        "started": left.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "seconds": round(time.monotonic() - begun, 1),
        "expected": plan.expected,
        "capabilities": [
            {"name": str(capability.name), "available": capability.available, "why": capability.why}
            for capability in there
        ],
        "phases": [phase._asdict() for phase in left.phases],
        "operations": {**judge.operations(history), "ok_by_phase": judge.ok_by_phase(history, left.phases)},
        "faults": [asdict(injury) for injury in left.injuries],
        "skipped": [{"fault": name, "why": why} for name, why in skipped],
        "checks": [judge.check_json(workload, check) for workload, check in found],
        "vacuous": doubts,
        "problem": left.problem,
    }
    (out / RESULTS).write_text(json.dumps(document, indent=1) + "\n")
    report.write(out)
    return Told(verdict, out, document)


def _possible(plan: Plan, there: list[Capability], nodes: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The faults that can be injected, and why the others cannot."""
    possible, skipped = [], []
    for name in plan.faults:
        why = next(filter(None, (_impossible(FAULTS[part], plan, there, nodes) for part in parts(name))), "")
        if why:
            skipped.append((name, why))
        else:
            possible.append(name)
    return possible, skipped


def _impossible(fault: Fault, plan: Plan, there: list[Capability], nodes: int) -> str:
    if nodes < fault.nodes_min:
        return f"it needs {fault.nodes_min} nodes"
    ones = [name for name in plan.workloads if WORKLOADS[name].writes_at_one]
    if fault.loses_ones and ones:
        return f"it takes a disk away, and what {', '.join(ones)} has written at level ONE may be there alone"
    return capabilities.missing(there, fault.needs)


class _Conductor:
    """Who does what when."""

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster | None,
        way: "_Way",
        sink: BinaryIO,
        left: _Run,
        watch: Callable[[Status], None],
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._left = left
        self._watch = watch
        self._say = say
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        self._recorder = Recorder(sink)
        self._way = way
        self._arena = Arena(
            self._recorder,
            way.nodes,
            plan.seed,
            self._stop,
            redis=_redis_doors(cluster),
            doors=plan.doors,
            access=way.access,
        )
        self._observer = Observer(way.nodes, self._recorder, way.access)
        rate_hz = plan.rate_hz / len(plan.workloads)
        self._workloads: list[Workload] = [WORKLOADS[name](self._arena, rate_hz) for name in plan.workloads]
        self._nemesis: Nemesis | None = None
        self._calm_s = max(plan.seconds * _CALM_SHARE, min(_CALM_PHASE_S_MIN, plan.seconds / 3))
        self._status = Status(load_s=plan.seconds)
        self._begun = time.monotonic()

    async def run(self, faults: list[str]) -> None:
        async with AsyncExitStack() as stack:
            if faults and self._cluster is not None:
                self._nemesis = self._new_nemesis(self._cluster)
                await stack.enter_async_context(self._nemesis.prepared(faults))
            tasks = [asyncio.create_task(self._observer.run(self._over)), asyncio.create_task(self._tell())]
            stack.push_async_callback(self._finish, tasks)
            load = [asyncio.create_task(workload.run()) for workload in self._workloads]
            stack.push_async_callback(self._finish, load)
            try:
                await self._phases(faults, load)
                self._status.phase = "final"
                from_ns = time.monotonic_ns()
                await self._final()
                self._left.phases.append(Phase("final", from_ns, time.monotonic_ns()))
            except (NotConverged, KvError, LocalError) as error:
                self._left.problem = f"in the phase '{self._status.phase}': {error}"

    def _new_nemesis(self, cluster: Cluster) -> Nemesis:
        field = Field(cluster, random.Random(self._plan.seed), self._say)
        field.wiped = lambda name: self._recorder.observe(name, {"role": None, "wiped": True})
        field.held_disks = self._plan.held_disks
        field.vault = self._way.vault
        field.drops = not capabilities.missing(self._left.capabilities, frozenset({Need.PACKETS}))
        nemesis = Nemesis(field, watch=self._injured, unserved=lambda: self._arena.unserved)
        self._left.injuries = nemesis.injuries
        return nemesis

    async def _finish(self, tasks: list["asyncio.Task[None]"]) -> None:
        self._stop.set()
        self._over.set()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, BaseException) and self._left.problem is None:
                self._left.problem = f"the harness itself failed: {end!r}"

    async def _phases(self, faults: list[str], load: list["asyncio.Task[None]"]) -> None:
        calm_s = self._calm_s
        await self._phase("before", calm_s, load)
        if self._nemesis is not None:
            enough = asyncio.Event()
            striking = asyncio.create_task(self._nemesis.run(faults, _CALM_S, enough))
            await self._phase("faults", self._plan.seconds - 2 * calm_s, [*load, striking])
            enough.set()
            await striking
            last = self._left.phases.pop()
            self._left.phases.append(last._replace(to_ns=time.monotonic_ns()))
        else:
            await self._phase("faults", self._plan.seconds - 2 * calm_s, load)
        await self._phase("after", calm_s, load)
        self._stop.set()
        await asyncio.gather(*load)

    async def _phase(
        self, name: Literal["before", "faults", "after"], seconds: float, tasks: list["asyncio.Task[None]"]
    ) -> None:
        """So long, or until one of `tasks` ends, which is an error."""
        self._status.phase = name
        from_ns = time.monotonic_ns()
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        self._left.phases.append(Phase(name, from_ns, time.monotonic_ns()))
        for task in done:
            task.result()

    def _injured(self, injury: Injury) -> None:
        over = bool(injury.to_ns)
        what = {"detail": injury.detail, "nodes": injury.nodes, "effects": injury.effects}
        self._recorder.fault(f"{injury.fault} ends" if over else injury.fault, what, ",".join(injury.nodes))
        self._status.fault = "" if over else f"{injury.fault} {injury.detail}"
        self._status.faults = len(self._left.injuries)

    async def _final(self) -> None:
        endpoints = list(self._arena.nodes.values())
        async with self._way.access.client(endpoints, timeout_s=_LAST_WRITE_S_MAX) as client:
            with suppress(KvError, LocalError):
                written = await client.put(attaching.LAST_KEY.encode(), b"1")
                self._left.last_write = True
                self._arena.last_revision = max(self._arena.last_revision, written.revision or 0)
        for workload in self._workloads:
            await workload.settle()
        if self._cluster is not None:
            await converge(self._cluster)
        for workload in self._workloads:
            await workload.final()

    async def _tell(self) -> None:
        while not self._over.is_set():
            status, counts = self._status, self._arena.counts
            status.elapsed_s = time.monotonic() - self._begun
            if status.phase in ("before", "faults"):
                # Taking back the last fault may take its time; the calm after it is not cut short for that.
                status.load_s = max(status.load_s, status.elapsed_s + self._calm_s)
            status.ok, status.refused, status.unknown = counts["ok"], counts["refused"], counts["info"]
            status.leader = self._observer.leader
            self._watch(status)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _STATUS_S)

"""One run of one work on one system, and what a cluster costs at rest: rows."""

import time
from datetime import UTC, datetime
from typing import Final

from tests.bench import failover
from tests.bench.clusters import Running
from tests.bench.procs import CORES, Meter, NotAvailable, Usage, cpu_s, rss_mib
from tests.bench.systems import System
from tests.bench.work import FAILOVER, LOADS, REST, Row, Told, Work

REST_S: Final = 2.0
BUSY_SHARE: Final = 0.9


def cell(turn: int, name: str, work: str, system: System, running: Running, seconds: int) -> Row:
    """The row of one work, with `failed` where it could not be done."""
    row: Row = {"round": turn, "system": name, "work": work, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        if work == FAILOVER:
            gap_s, acknowledged = failover.gap(system.writer(), running)
            return row | {"gap_s": round(gap_s, 4), "acknowledged": acknowledged}
        return row | load(LOADS[work], system, running, seconds)
    except (NotAvailable, OSError, ValueError) as failed:
        return row | {"failed": str(failed)}


def load(work: Work, system: System, running: Running, seconds: int) -> Row:
    """The figures of one load. Raises what the generator raises."""
    leader = running.leader()
    go = system.ready(work, leader, seconds)
    meter = Meter(running.pids)
    told = go()
    usage = meter.read()
    if not told.operations:
        raise NotAvailable(f"not one operation: {told.error}")
    return figures(told, usage, leader.number) | {"generator": system.generator}


def figures(told: Told, usage: Usage, leader: int) -> Row:
    """What a generator told, and what was used meanwhile, as members of a row. CPU is told for each operation, of the
    warm-up too; that of the generator as a share of the cores that it could use.
    """
    usable = min(told.threads, CORES)
    if told.cpu_share is None:
        cores, each_s = usage.generator_s / usage.seconds, usage.generator_s / told.total
    else:
        cores, each_s = told.cpu_share, told.cpu_share * told.seconds / told.operations
    return {
        "operations": told.operations,
        "seconds": round(told.seconds, 4),
        "per_second": round(told.operations / told.seconds, 1),
        "p50_ms": round(told.p50_ms, 4),
        "p99_ms": round(told.p99_ms, 4),
        "worst_ms": round(told.worst_ms, 4),
        "errors": told.errors,
        "error": told.error,
        "generator_cpu_share": round(cores / usable, 3),
        "generator_cpu_us": round(1e6 * each_s, 1),
        "generator_is_the_limit": cores / usable >= BUSY_SHARE,
        "server_cpu_us": round(1e6 * usage.servers_s / told.total, 1),
        "leader_cpu_us": round(1e6 * usage.servers_each_s[leader] / told.total, 1),
        "others_cpu_share": round(usage.others_share, 3),
        "stolen_cpu_share": round(usage.stolen_share, 3),
        "busy_cpu_share": round(usage.busy_share, 3),
    }


def rest(turn: int, name: str, running: Running) -> Row:
    """What a cluster uses that has just been started and does nothing."""
    begun, before = time.monotonic(), [cpu_s(pid) for pid in running.pids]
    time.sleep(REST_S)
    used = sum(cpu_s(pid) for pid in running.pids) - sum(before)
    return {
        "round": turn,
        "system": name,
        "work": REST,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rss_mib": rss(running),
        "idle_cpu_share": round(used / (time.monotonic() - begun), 4),
    }


def rss(running: Running) -> list[float]:
    """Resident memory of each node."""
    return [round(rss_mib(pid), 1) for pid in running.pids]

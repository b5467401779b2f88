"""What a cluster of three costs with many keys: each step of tests/bench/scale.py, on a cluster that runs."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy

from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST, NodeSpec, free_ports
from kvjepsen.plain import Connection
from kvstore.client import AsyncClient
from tests.bench.generators import native
from tests.bench.procs import Meter, NotAvailable, peak_mib, rss_mib
from tests.bench.systems.kvstore_http import CLIENT
from tests.bench.work import VALUE_BYTES, Work

# A request each so many seconds, whether the one before was late or not: what comes late counts from when it was due.
PROBE_EVERY_S: Final = 0.005
PROBE_IDLE_S: Final = 2.0
JOINER: Final = "n4"

_PATIENCE_S: Final = 900.0
_POLL_S: Final = 0.02


def load(cluster: Cluster, keys: int) -> dict[str, Any]:
    """Writes so many keys of 100 bytes by batches."""
    told = native.load(CLIENT, _addresses(cluster), keys, _PATIENCE_S)
    return {"load_seconds": round(told.seconds, 2), "load_per_second": round(keys / told.seconds, 1)}


def memory(cluster: Cluster, at_rest_mib: list[float], keys: int) -> dict[str, Any]:
    """Resident memory of each node now and at most, and what it is more than at rest for each key."""
    now = resident_mib(cluster)
    more = [(after - before) * 2**20 / keys for after, before in zip(now, at_rest_mib, strict=True)]
    return {
        "rss_rest_mib": [round(each, 1) for each in at_rest_mib],
        "rss_mib": [round(each, 1) for each in now],
        "rss_peak_mib": [round(peak_mib(pid), 1) for pid in _pids(cluster)],
        "bytes_per_key": round(max(more), 1),
        "disk_mib": disk_mib(cluster),
    }


def resident_mib(cluster: Cluster) -> list[float]:
    """Resident memory of each node."""
    return [rss_mib(pid) for pid in _pids(cluster)]


def disk_mib(cluster: Cluster) -> list[float]:
    """What the data directory of each node takes."""
    return [round(_taken_mib(cluster.topology.data_dir(name)), 1) for name in cluster.topology.names]


def writes(cluster: Cluster, keys: int, seconds: float) -> dict[str, Any]:
    """Puts of keys that are there, at the leader: by one client over HTTP, and 64 in flight by batches."""
    leading = leader(cluster)
    alone = native.run([*CLIENT, "--door", "http"], Work("", "put", 1), [address(leading)], seconds, keys)
    meter = Meter(_pids(cluster))
    many = native.run([*CLIENT, "--door", "batch"], Work("", "put", 64), [address(leading)], seconds, keys)
    usage = meter.read()
    if alone.errors or many.errors:
        raise NotAvailable(f"writes failed: {alone.error or many.error}")
    return {
        "write_p50_ms": round(alone.p50_ms, 3),
        "write_p99_ms": round(alone.p99_ms, 3),
        "writes_per_second_at_64": round(many.operations / many.seconds, 1),
        "write_cpu_us_at_64": round(1e6 * usage.servers_s / many.total, 1),
    }


def snapshot(cluster: Cluster) -> dict[str, Any]:
    """How long the leader takes to write a snapshot of everything, and how late its answers are meanwhile; and at rest,
    for comparison. The snapshot is one for a backup, whose answer begins when it is on disk.
    """
    return asyncio.run(_snapshot(leader(cluster)))


async def _snapshot(leader: NodeSpec) -> dict[str, Any]:
    async with AsyncClient([leader.http]) as client:
        await client.put(b"key0", b"x" * VALUE_BYTES)
    probing = await Connection.open(leader.http_port)
    idle = asyncio.Event()
    asyncio.get_running_loop().call_later(PROBE_IDLE_S, idle.set)
    before_ms = await _probe(probing, idle)
    ended = asyncio.Event()
    probe = asyncio.create_task(_probe(probing, ended))
    begun = time.monotonic()
    try:
        await _taken(leader)
        seconds = time.monotonic() - begun
    finally:
        ended.set()
        during_ms = await probe
        probing.close()
    return {
        "snapshot_seconds": round(seconds, 3),
        "idle_probe_ms": late(before_ms),
        "snapshot_probe_ms": late(during_ms),
    }


async def _taken(leader: NodeSpec) -> None:
    """Until the head of the answer is here; the file itself is not wanted."""
    reader, writer = await asyncio.open_connection(HOST, leader.http_port)
    try:
        timeout_ms = int(_PATIENCE_S * 1_000 / 2)
        writer.write(f"GET /v1/snapshot?level=one&timeout_ms={timeout_ms} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        async with asyncio.timeout(_PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise NotAvailable(f"no snapshot: {head.decode(errors='replace').splitlines()[0]}")
    finally:
        writer.close()


async def _probe(connection: Connection, ended: asyncio.Event) -> list[float]:
    """Milliseconds from when each request was due until its answer; one at least."""
    found: list[float] = []
    due = time.monotonic()
    while not found or not ended.is_set():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        answer = await connection.ask("GET", "/v1/kv/key0?level=one")
        if answer.status != 200:
            raise NotAvailable(f"a read was answered {answer.status}")
        found.append((time.monotonic() - due) * 1_000)
        due += PROBE_EVERY_S
    return found


def late(found_ms: list[float]) -> dict[str, float]:
    """Percentiles, of values that were measured."""
    p50, p99 = numpy.percentile(found_ms, [50, 99], method="inverted_cdf")
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "worst": round(max(found_ms), 3)}


def restart(cluster: Cluster) -> dict[str, Any]:
    """Seconds from the start of a follower that was killed until it is ready."""
    leading = leader(cluster).name
    name = next(name for name in cluster.topology.names if name != leading)
    cluster.kill(name)
    begun = time.monotonic()
    cluster.start(name)
    cluster.wait_ready([name], _PATIENCE_S)
    return {"restart_seconds": round(time.monotonic() - begun, 3)}


def join(cluster: Cluster, directory: Path) -> dict[str, Any]:
    """Seconds from the start of an empty new member until it has caught up, which makes it a voter."""
    http, peer = (f"{HOST}:{port}" for port in free_ports(2))
    asyncio.run(_take_in(cluster, peer))
    command = [sys.executable, "-m", "kvcli", "serve", "--name", JOINER, "--data-dir", str(directory / JOINER)]
    command += ["--listen", http, "--listen-peer", peer, "--join", cluster.endpoints[0]]
    with (directory / "log").open("ab") as log:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        asyncio.run(_until_voter(cluster, process))
        return {"join_seconds": round(time.monotonic() - begun, 3), "join_rss_mib": round(rss_mib(process.pid), 1)}
    finally:
        process.kill()
        process.wait()


async def _take_in(cluster: Cluster, peer: str) -> None:
    async with AsyncClient(cluster.endpoints, timeout_s=30.0) as client:
        await client.add_member(JOINER, peer)


async def _until_voter(cluster: Cluster, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE_S
    async with AsyncClient(cluster.endpoints, timeout_s=30.0) as client:
        while True:
            view = await client.cluster()
            if any(member.name == JOINER and member.voter for member in view.members):
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotAvailable("the new member ended, or has not caught up in time")
            await asyncio.sleep(_POLL_S)


def leader(cluster: Cluster) -> NodeSpec:
    """Raises NotAvailable when nobody leads."""
    name = cluster.leader()
    if name is None:
        raise NotAvailable("nobody leads")
    return cluster.topology.node(name)


def address(node: NodeSpec) -> str:
    """`host:port` of its HTTP door."""
    return node.http.removeprefix("http://")


def _addresses(cluster: Cluster) -> list[str]:
    return [address(node) for node in cluster.topology.nodes]


def _pids(cluster: Cluster) -> list[int]:
    found = [cluster.process(name) for name in cluster.topology.names]
    return [process.pid for process in found if process is not None]


def _taken_mib(directory: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file()) / 2**20

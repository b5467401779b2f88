"""What many leases cost: grants a second, CPU and log growth while all are kept alive, and whether one ends early when
the leader is killed.

    python -m tests.bench.leases --leases 20000 --ttl 30 --seconds 60

Three nodes on this machine. Every lease has one key. Clients keep all alive three times in each time to live, 1,000 at
a time. Then the leader is killed, and half a time to live later, without a keepalive in between, every lease has to be
there; two times to live later none.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from tests.bench.procs import cpu_s

PART = 1_000
IN_FLIGHT = 64


def _cpu_s(cluster: Cluster) -> float:
    """Seconds of CPU that the nodes which run have used."""
    processes = map(cluster.process, cluster.topology.names)
    return sum(cpu_s(process.pid) for process in processes if process is not None)


async def _grant(client: AsyncClient, count: int, ttl: float) -> list[int]:
    left = iter(range(count))
    leases: list[int] = []

    async def some() -> None:
        for number in left:
            lease = await client.grant(ttl)
            await client.put(b"leased/%d" % number, b"", lease=lease)
            leases.append(lease)

    async def keep() -> None:
        """The first ones are due before the last are granted."""
        while True:
            await asyncio.sleep(ttl / 3)
            await _keep_alive(client, list(leases))

    keeping = asyncio.create_task(keep())
    await asyncio.gather(*(some() for _ in range(IN_FLIGHT)))
    keeping.cancel()
    return leases


async def _keep_alive(client: AsyncClient, leases: list[int]) -> int:
    """How many were not there any more."""
    gone = 0
    for begin in range(0, len(leases), PART):
        gone += len((await client.keep_alive(leases[begin : begin + PART])).gone)
    return gone


async def _run(cluster: Cluster, count: int, ttl: float, seconds: float) -> int:
    async with AsyncClient(cluster.topology.endpoints, timeout_s=20.0) as client:
        began = time.monotonic()
        leases = await _grant(client, count, ttl)
        print(f"{count} leases with a key each, ttl {ttl:g} s: granted at {count / (time.monotonic() - began):.0f}/s")
        view = await client.cluster()
        index, cpu, began = view.commit_index, _cpu_s(cluster), time.monotonic()
        gone = kept = 0
        while time.monotonic() - began < seconds:
            due = time.monotonic() + ttl / 3
            gone = await _keep_alive(client, leases)
            kept += count
            await asyncio.sleep(max(due - time.monotonic(), 0))
        took = time.monotonic() - began
        grown = (await client.cluster()).commit_index - index
        print(f"kept alive for {took:.0f} s: {kept / took:.0f} keepalives/s, {grown} log entries, {gone} ended early")
        print(f"CPU of the three nodes: {100 * (_cpu_s(cluster) - cpu) / took:.1f} % of one core")
        await _keep_alive(client, leases)
        cluster.kill(str(cluster.leader()))
        await asyncio.sleep(ttl / 2)
        early = count - len(await client.leases())
        print(f"half a ttl after the leader was killed: {early} ended early")
        await asyncio.sleep(2 * ttl)
        late = len(await client.leases())
        print(f"two ttl later: {late} are left")
        return int(bool(gone or early or late))


def main() -> int:
    """The command; the exit code is 1 if a lease ended early or not at all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=20_000)
    parser.add_argument("--ttl", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kv-leases-") as directory:
        cluster = bring_up(Path(directory), 3)
        try:
            return asyncio.run(_run(cluster, asked.leases, asked.ttl, asked.seconds))
        finally:
            cluster.down()


if __name__ == "__main__":
    sys.exit(main())

"""Every node of a live cluster is restarted in turn, with SIGTERM, under load: no write fails."""

import asyncio
import time

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.audit import audit_by_range
from kvjepsen.ledger import Ledger
from kvjepsen.recording import RecordingClient

WRITERS = 8
GAP_S_MAX = 5.0  # a client's whole deadline; what is really seen is a small part of a second


async def test_a_rolling_restart_fails_no_write(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    ledger = Ledger()
    stop = asyncio.Event()
    longest = 0.0

    async def write(number: int) -> int:
        nonlocal longest
        count = 0
        async with RecordingClient(cluster.topology.endpoints, ledger) as client:
            while not stop.is_set():
                began = time.monotonic()
                await client.put(b"writer%d/%d" % (number, count), b"value")
                longest = max(longest, time.monotonic() - began)
                count += 1
        return count

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    for name in cluster.topology.names:
        await asyncio.to_thread(cluster.restart, name)
    stop.set()
    counts = await asyncio.gather(*writers)  # an error of any write would be raised here
    assert min(counts) > 20
    assert longest < GAP_S_MAX
    found = await audit_by_range(ledger, {node.name: node.http for node in cluster.topology.nodes}, [b"writer"])
    assert found.findings == []

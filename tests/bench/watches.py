"""What many watches cost: memory, and the time of a write that none or all of them see.

    python -m tests.bench.watches --watches 5000

Three nodes on this machine; all watches are at one of them, each on a key of its own, and then on one key. A write of a
key that nobody watches is timed with and without them, in turns; then one that all see, until the last has its event.
If fewer can be opened, the number reached is told.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from kvstore.open_files import raise_limit
from tests.bench.procs import rss_mib

WRITES = 500
OPENED_AT_ONCE = 64


class Watcher:
    """A watch by a bare connection, so that the client costs little. `told` counts the events."""

    def __init__(self) -> None:
        self.told = 0

    async def open(self, endpoint: str, key: str) -> None:
        """Connect, and wait until the watch has begun."""
        address = urlsplit(endpoint)
        self._reader, self._writer = await asyncio.open_connection(address.hostname, address.port)
        self._writer.write(f"GET /v1/watch?key={key} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            raise OSError(head.splitlines()[0].decode())

    async def follow(self, seen: Callable[[], None]) -> None:
        """Count events until the connection ends."""
        while data := await self._reader.read(65_536):
            found = data.count(b"event: put")
            self.told += found
            for _ in range(found):
                seen()

    def close(self) -> None:
        """End it."""
        self._writer.close()


class Crowd:
    """Many watchers at one node."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._tasks: list[asyncio.Task[None]] = []
        self.watchers: list[Watcher] = []
        self.seen = 0
        self.problem: str | None = None

    async def gather(self, count: int, key: Callable[[int], str]) -> None:
        """Open up to `count`."""
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:
                watcher = Watcher()
                try:
                    await watcher.open(self._endpoint, key(number))
                except OSError as refused:
                    self.problem = str(refused)
                    return
                self.watchers.append(watcher)
                self._tasks.append(asyncio.create_task(watcher.follow(self._saw)))

        await asyncio.gather(*(some() for _ in range(OPENED_AT_ONCE)))

    def _saw(self) -> None:
        self.seen += 1

    async def until(self, events: int) -> None:
        """Wait until so many events have come."""
        while self.seen < events:
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """Close all."""
        for watcher in self.watchers:
            watcher.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _rss_mib(cluster: Cluster, name: str) -> float:
    process = cluster.process(name)
    assert process is not None
    return rss_mib(process.pid)


async def _writes_ms(client: AsyncClient, key: bytes, count: int) -> str:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await client.put(key, b"v" * 100)
        times.append(1000 * (time.perf_counter() - began))
    p50, p99 = np.percentile(times, [50, 99])
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


async def _run(cluster: Cluster, count: int) -> int:
    watched = next(name for name in cluster.topology.names if name == cluster.leader())
    endpoint = cluster.topology.node(watched).http
    async with AsyncClient([endpoint], timeout_s=60.0) as client:
        await _writes_ms(client, b"warm", WRITES)
        for turn in (1, 2):
            without = await _writes_ms(client, b"q", WRITES)
            before, began = _rss_mib(cluster, watched), time.monotonic()
            crowd = Crowd(endpoint)
            await crowd.gather(count, lambda number: f"own-{number}")
            opened, took = len(crowd.watchers), time.monotonic() - began
            each_kib = 1024 * (_rss_mib(cluster, watched) - before) / max(opened, 1)
            print(f"round {turn}: a write that nobody watches, no watches: {without}")
            print(
                f"round {turn}: {opened} of {count} opened at {opened / took:.0f}/s; {crowd.problem or 'none refused'}"
            )
            print(f"round {turn}: {each_kib:.1f} KiB of memory each, {before:.0f} MiB before")
            print(f"round {turn}: the same, {opened} watches of other keys: {await _writes_ms(client, b'q', WRITES)}")
            await crowd.leave()
        crowd = Crowd(endpoint)
        await crowd.gather(count, lambda _: "same")
        opened = len(crowd.watchers)
        times = []
        for turn in range(10):
            began = time.perf_counter()
            await client.put(b"same", b"v" * 100)
            answered = time.perf_counter() - began
            await crowd.until(opened * (turn + 1))
            times.append((1000 * answered, 1000 * (time.perf_counter() - began)))
        answered_ms, last_ms = np.median(np.array(times), axis=0)
        print(
            f"a write that {opened} watches see: answered after {answered_ms:.0f} ms, all told after {last_ms:.0f} ms"
        )
        await crowd.leave()
        return 0 if opened == count else 1


def main() -> int:
    """Run it; 0 if every watch was opened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--watches", type=int, default=5_000)
    chosen = parser.parse_args()
    raise_limit(chosen.watches + 1_000)
    with tempfile.TemporaryDirectory() as directory:
        cluster = bring_up(Path(directory) / "cluster", 3)
        try:
            return asyncio.run(_run(cluster, chosen.watches))
        finally:
            cluster.down()


if __name__ == "__main__":
    sys.exit(main())

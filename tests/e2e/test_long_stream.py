"""A range of a million keys as ndjson, while others write: at one revision, in memory that does not grow with it."""

import asyncio
import itertools
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvstore.client import AsyncClient, Put, WriteResult

KEYS = 1_000_000
AT_ONCE = 5_000
PATIENCE_S = 120.0
MORE_KIB_MAX = 64 << 10


def peak_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


@pytest.mark.long
async def test_a_million_keys_are_streamed_in_constant_memory(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    node = next(node for node in cluster.topology.nodes if node.name != cluster.leader())
    process = cluster.process(node.name)
    assert process is not None
    pid = process.pid
    async with AsyncClient([node.http], timeout_s=PATIENCE_S) as client:
        for first in range(0, KEYS, AT_ONCE):
            told = await client.batch([Put(b"%08d" % n, b"x" * 100) for n in range(first, first + AT_ONCE)])
            assert all(isinstance(each, WriteResult) for each in told)
        host, port = node.http.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is counted anew
        before = peak_kib(pid)
        writer.write(
            b"GET /v1/kv?prefix=0&timeout_ms=600000 HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        writing = asyncio.create_task(_write(client))  # the head has told the revision: nothing of this is in it
        expected = b'{"key":"%08d","value":"' + b"x" * 100 + b'"}'
        count, size, rest = 0, 0, b""
        while length := int(await asyncio.wait_for(reader.readline(), PATIENCE_S), 16):
            *lines, rest = (rest + (await reader.readexactly(length + 2))[:-2]).split(b"\n")
            size += length
            for line in lines:
                assert line == expected % count
                count += 1
        await reader.readline()
        writing.cancel()
        more = peak_kib(pid) - before
        writer.close()
    print(f"{count:,} keys, {size:,} bytes, the node's peak rose by {more:,} KiB from {before:,} KiB")
    assert (count, rest) == (KEYS, b"")
    assert more < MORE_KIB_MAX < size >> 10


async def _write(client: AsyncClient) -> None:
    """Changes keys that the stream has not come to: it must not tell."""
    for n in itertools.count(1):
        await client.put(b"%08d" % (KEYS - 1 - n % 1_000), b"later")

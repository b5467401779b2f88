"""Damaged files: a node refuses to start, names file and offset, says what to do, and ends with 7."""

import json
import subprocess
import sys
from pathlib import Path

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from kvstore.limits import SEGMENT_BYTES, VALUE_BYTES_MAX

VALUE = b"v" * 1_000


async def fill(cluster: Cluster, keys: int, value: bytes = VALUE) -> None:
    async with AsyncClient(cluster.topology.endpoints) as client:
        for number in range(keys):
            await client.put(b"key%d" % number, value, level="all")


def serve(cluster: Cluster, name: str) -> subprocess.CompletedProcess[str]:
    """Start the node by hand on its directory, as a cluster of its own would: it must not get far enough to listen."""
    node = cluster.topology.node(name)
    command = [
        sys.executable,
        "-m",
        "kvcli",
        "serve",
        "--name",
        name,
        "--data-dir",
        str(cluster.topology.data_dir(name)),
    ]
    command += ["--listen", f"127.0.0.1:{node.http_port}", "--listen-peer", node.peer, "--log-format", "json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def refusal(ended: subprocess.CompletedProcess[str], path: Path) -> str:
    assert ended.returncode == 7, ended.stderr
    assert ended.stdout == ""
    said = str(json.loads(ended.stderr.splitlines()[-1])["error"])
    assert str(path) in said
    assert "offset" in said
    return said


async def test_a_flipped_bit_in_the_journal_below_the_last_durable_mark(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    await fill(cluster, 20)
    cluster.down()
    (segment,) = (cluster.topology.data_dir("n1") / "journal").glob("*.seg")
    place = segment.read_bytes().index(VALUE) + 500
    flip(segment, place)
    assert refusal(serve(cluster, "n1"), segment).endswith(".")
    flip(segment, place)
    cluster.up()


async def test_a_flipped_bit_in_a_snapshot(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(1, env={"KV_SNAPSHOT_LOG_BYTES": str(1 << 20), "KV_LOG_KEEP_BYTES": str(1 << 20)})
    await fill(cluster, 1_500)
    cluster.down()
    (snapshot,) = (cluster.topology.data_dir("n1") / "snapshots").glob("*.snap*")
    flip(snapshot, snapshot.stat().st_size // 2)
    refusal(serve(cluster, "n1"), snapshot)


async def test_a_missing_snapshot_while_the_log_starts_behind_it(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(1, env={"KV_SNAPSHOT_LOG_BYTES": str(1 << 20), "KV_LOG_KEEP_BYTES": "0"})
    await fill(cluster, 2 * SEGMENT_BYTES // VALUE_BYTES_MAX, b"v" * VALUE_BYTES_MAX)
    cluster.down()
    snapshots = cluster.topology.data_dir("n1") / "snapshots"
    (snapshot,) = snapshots.glob("*.snap*")
    segments = sorted((cluster.topology.data_dir("n1") / "journal").glob("*.seg"))
    assert not segments[0].name.lstrip("0").startswith("1."), "the log was never cut: the test shows nothing"
    snapshot.rename(snapshot.with_suffix(".away"))
    refusal(serve(cluster, "n1"), snapshots)


async def test_two_processes_never_share_a_directory(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(1)
    ended = serve(cluster, "n1")
    assert ended.returncode == 7
    assert "used by another process" in ended.stderr

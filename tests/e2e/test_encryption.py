"""A cluster whose disks hold nothing that can be read: killed, its keys rotated under load, started with wrong ones."""

import asyncio
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from tests.e2e.test_corrupt_data import serve
from tests.support.kv_command import Captured, Kv
from tests.support.vaults import line

MARKER = b"PLANTED-3f9c1e77"
PATIENCE_S = 40.0


def give_keys(path: Path, *lines: str) -> None:
    """Replace the key file, as one should: a new one takes its place."""
    new = path.with_suffix(".new")
    new.write_text("".join(lines))
    new.chmod(0o600)
    new.rename(path)


def files_with(directory: Path, marker: bytes) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and marker in path.read_bytes()]


def files_by_key(cluster: Cluster, name: str) -> dict[str, float]:
    """Number of a key -> how many files need it; those of which there are some."""
    with urllib.request.urlopen(f"{cluster.topology.node(name).http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [one.removeprefix("kv_encryption_files{key=").split("} ") for one in lines if "kv_encryption_files{" in one]
    return {key.strip('"'): float(files) for key, files in found if float(files)}


def wait_until_only(cluster: Cluster, key: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    for name in cluster.topology.names:
        while (files := files_by_key(cluster, name)).keys() != {key}:
            assert time.monotonic() < deadline, (name, files)
            time.sleep(0.1)  # nothing but the node's own count tells


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    give_keys(path, line(1))
    return path


async def put_until(client: AsyncClient, stop: asyncio.Event) -> int:
    number = 0
    while not stop.is_set():
        await client.put(b"load-%d" % (number % 50), MARKER + b"%d" % number)
        number += 1
    return number


async def test_keys_are_rotated_under_load_and_nothing_readable_is_ever_on_a_disk(
    kv_cluster: ClusterFactory, keys: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured, tmp_path: Path
) -> None:
    cluster = kv_cluster(3, env={"KV_ENCRYPTION_KEY_FILE": str(keys)})
    kv = Kv(cluster.endpoints, monkeypatch, capfdbinary)
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as client:
        await client.put(b"first", MARKER, level="all")
        await client.put(b"one", MARKER, level="one")
        await asyncio.to_thread(kv, "snapshot", "save", str(tmp_path / "backup"))
        stop = asyncio.Event()
        load = asyncio.create_task(put_until(client, stop))
        give_keys(keys, line(2), line(1))
        for name in cluster.topology.names:
            process = cluster.process(name)
            assert process is not None
            os.kill(process.pid, signal.SIGHUP)
        await asyncio.to_thread(wait_until_only, cluster, "2")
        give_keys(keys, line(2))  # the old key is not needed any more: only the backup has it
        await asyncio.to_thread(cluster.kill, "n2")
        await asyncio.to_thread(cluster.restart, "n2")
        stop.set()
        assert await load > 20
        assert (await client.get(b"first")).value == MARKER  # type: ignore[union-attr]
        last = [await client.get(b"load-%d" % number) for number in range(20)]
        assert all(record is not None and record.value.startswith(MARKER) for record in last)
    cluster.down()
    for name in cluster.topology.names:
        assert files_with(cluster.topology.data_dir(name), MARKER) == []
        assert files_with(cluster.topology.home(name), line(2).split()[1].encode()) == []

    # The backup needs the key that was active then.
    assert MARKER not in (tmp_path / "backup").read_bytes()
    kv("snapshot", "verify", str(tmp_path / "backup"), code=7)
    kv("snapshot", "verify", str(tmp_path / "backup"), "--encryption-key-file", str(keys), code=7)
    old = tmp_path / "old-keys"
    give_keys(old, line(1))
    told = kv.json("snapshot", "verify", str(tmp_path / "backup"), "--encryption-key-file", str(old))
    assert (told["key"], told["bytes"]) == (1, (tmp_path / "backup").stat().st_size)
    assert told["keys"] in (1, 2)  # the write at level one may not be handed over yet
    directory = tmp_path / "restored"
    kv("snapshot", "restore", str(tmp_path / "backup"), "--data-dir", str(directory), "--encryption-key-file", str(old))
    assert files_with(directory, MARKER) == []


async def test_a_node_without_its_key_or_with_a_wrong_one_refuses_to_start_and_changes_nothing(
    kv_cluster: ClusterFactory, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = kv_cluster(1, env={"KV_ENCRYPTION_KEY_FILE": str(keys)})
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as client:
        await client.put(b"first", MARKER)
    cluster.down()
    journal = cluster.topology.data_dir("n1") / "journal"
    before = {path.name: path.read_bytes() for path in journal.iterdir()}

    def refused() -> str:
        ended: subprocess.CompletedProcess[str] = serve(cluster, "n1")
        assert ended.returncode == 7, ended.stderr
        assert {path.name: path.read_bytes() for path in journal.iterdir()} == before
        return ended.stderr

    assert "key 1, and no keys were given" in refused()
    give_keys(keys, line(2).replace("2 ", "1 ", 1))
    monkeypatch.setenv("KV_ENCRYPTION_KEY_FILE", str(keys))
    assert "another key 1" in refused()
    give_keys(keys, line(1))
    cluster.up()
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as client:
        assert (await client.get(b"first")).value == MARKER  # type: ignore[union-attr]


@pytest.mark.long
async def test_encryption_is_turned_on_and_off_for_a_directory_that_is_in_use(
    kv_cluster: ClusterFactory, keys: Path
) -> None:
    cluster = kv_cluster(1)
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as client:
        await client.put(b"first", MARKER)
        await client.put(b"one", MARKER, level="one")
    cluster.down()
    assert files_with(cluster.topology.data_dir("n1"), MARKER) != []
    cluster = Cluster(cluster.topology, env={"KV_ENCRYPTION_KEY_FILE": str(keys)})
    cluster.up()
    try:
        await asyncio.to_thread(wait_until_only, cluster, "1")
        assert files_with(cluster.topology.data_dir("n1"), MARKER) == []
        give_keys(keys, "plain\n", line(1))
        await asyncio.to_thread(wait_until_only, cluster, "0")
        cluster.down()
        cluster = Cluster(cluster.topology)
        cluster.up()
        async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as client:
            assert (await client.get(b"first")).value == MARKER  # type: ignore[union-attr]
    finally:
        cluster.down()

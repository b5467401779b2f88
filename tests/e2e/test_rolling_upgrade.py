"""A cluster of an older version is upgraded node by node, each version from a wheel of its own, under load."""

import asyncio
import contextlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kvcluster.supervisor import Cluster
from kvcluster.topology import Topology
from kvjepsen.audit import audit
from kvjepsen.ledger import Ledger
from kvjepsen.recording import RecordingClient
from kvstore.client import AsyncClient
from kvstore.errors import UpgradeIncomplete

ROOT = Path(__file__).resolve().parents[2]
OLD = "8251505cd226c2b56d149d02f6a7f5eeb6acedb4"
"""The last version whose handshake tells no feature level: level 1."""

BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"


def unpacked(tree: Path, target: Path) -> str:
    """The wheel of the source in `tree`, ready to be imported from the path returned."""
    target.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=tree, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return str(target)


@pytest.fixture
def wheels(tmp_path: Path) -> tuple[str, str]:
    """Old and new."""
    archive = tmp_path / "old.tar"
    made = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "-o", str(archive), OLD], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("skipped: the history of this checkout does not reach back to the old version")
    source = tmp_path / "old-source"
    source.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(source)], check=True)
    return unpacked(source, tmp_path / "old"), unpacked(ROOT, tmp_path / "new")


def origin(path: str) -> str:
    """Where a node with this path takes kvstore from."""
    told = subprocess.run(
        [sys.executable, "-c", "import kvstore; print(kvstore.__file__)"],
        env={**os.environ, "PYTHONPATH": path},
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip()


async def test_an_old_cluster_is_upgraded_node_by_node_under_load(tmp_path: Path, wheels: tuple[str, str]) -> None:
    old_path, new_path = wheels
    assert origin(old_path).startswith(old_path)
    assert origin(new_path).startswith(new_path)
    topology = Topology.create(tmp_path / "cluster", 3)
    topology.directory.mkdir()
    topology.save()
    old, new = (Cluster(topology, env={"PYTHONPATH": path}) for path in wheels)
    ledger = Ledger()
    stop = asyncio.Event()

    async def write(number: int) -> int:
        count = 0
        async with RecordingClient(topology.endpoints, ledger) as client:
            while not stop.is_set():
                await client.put(b"writer%d/%d" % (number, count % 25), b"%d" % count)
                count += 1
        return count

    async def set_at(name: str) -> int:
        async with AsyncClient([topology.node(name).http], timeout_s=20) as client:
            told = await client.change_setting("history_revisions_max", 1_000)
            return int(told["feature_level"])

    try:
        old.up()
        writers = [asyncio.create_task(write(number)) for number in range(4)]
        for upgraded, name in enumerate(topology.names, 1):
            await asyncio.to_thread(old.stop, name)
            await asyncio.to_thread(new.start, name)
            await asyncio.to_thread(new.wait_ready, [name], 30.0)
            if upgraded < 3:
                with pytest.raises(UpgradeIncomplete) as refused:
                    await set_at(name)
                assert set(refused.value.missing) & set(topology.names[upgraded:])
                assert refused.value.outcome == "not_applied"
        async with AsyncClient(topology.endpoints, timeout_s=20) as client:
            assert (await client.settings())["feature_level"] == 1
            assert await until_all_are_connected(set_at) == 2
            assert (await client.settings())["settings"]["history_revisions_max"]["value"] == 1_000
            new.kill("n3")  # once the level is reached, nobody needs to be asked again
            told = await client.change_setting("history_revisions_max", 2_000)
            assert told["settings"]["history_revisions_max"]["value"] == 2_000
            await asyncio.to_thread(new.start, "n3")
            await asyncio.to_thread(new.wait_ready, ["n3"], 30.0)
        stop.set()
        counts = await asyncio.gather(*writers)  # an error of any write would be raised here
        assert min(counts) > 20
        found = await audit(ledger, {node.name: node.http for node in topology.nodes})
        assert found.findings == []
    finally:
        stop.set()
        new.down()


async def until_all_are_connected(set_at: Callable[[str], Awaitable[int]]) -> int:
    """The leader's connection to the node that came last may still be under way."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(UpgradeIncomplete):
                return await set_at("n3")
            await asyncio.sleep(0.05)

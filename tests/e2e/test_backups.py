"""Backups of a real cluster under load, new clusters from them, and what one member of a lost majority is worth."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import Topology
from kvstore.client import AsyncClient, Client
from kvstore.consensus.disk import OsDisk
from kvstore.errors import Compacted
from kvstore.node.new_cluster import verify
from kvstore.state.anew import REVISIONS_SKIPPED
from tests.support.joiners import Joiners
from tests.support.kv_command import Captured, Kv

PATIENCE_S = 60.0
WRITERS = 64

State = dict[bytes, tuple[bytes, int, int, int]]
"""Key -> value, create revision, mod revision, version."""


class Writer:
    """Puts and deletes keys until told to stop, and keeps what was acknowledged: revision -> key and value, None for a
    delete.
    """

    def __init__(self, client: AsyncClient) -> None:
        self.acknowledged: dict[int, tuple[bytes, bytes | None]] = {}
        self.stopped = False
        self._client = client

    async def run(self, number: int) -> None:
        turn = 0
        while not self.stopped:
            turn += 1
            key = b"%02d-%d" % (number, turn % 40)
            value = b"%d" % turn * 20
            self.acknowledged[(await self._client.put(key, value)).revision or 0] = (key, value)
            if turn % 5 == 0:
                self.acknowledged[(await self._client.delete(key)).revision or 0] = (key, None)

    async def until(self, count: int) -> None:
        """Wait until so many were acknowledged."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < count:
                await asyncio.sleep(0.01)

    def state_at(self, revision: int) -> State:
        """What the store holds at `revision`, if every revision up to it was acknowledged to somebody."""
        state: State = {}
        for each in range(1, revision + 1):
            key, value = self.acknowledged[each]
            if value is None:
                del state[key]
            else:
                _, created, _, version = state.get(key, (b"", each, 0, 0))
                state[key] = (value, created, each, version + 1)
        return state


async def state_of(client: AsyncClient, revision: int | None = None) -> State:
    found = client.scan(prefix=b"", revision=revision)
    return {
        key: (record.value, record.create_revision, record.mod_revision, record.version) async for key, record in found
    }


@contextlib.contextmanager
def restored(kv: Kv, backup: Path, directory: Path) -> Iterator[Cluster]:
    """A new cluster of three in `directory`, made from the backup with one command for each node, and started."""
    topology = Topology.create(directory, 3)
    directory.mkdir()
    topology.save()
    for node in topology.nodes:
        others = [f"--peer={other.name}={other.peer}" for other in topology.nodes if other is not node]
        member = ["--name", node.name, "--listen-peer", node.peer, "--cluster-token", topology.token, *others]
        kv("snapshot", "restore", str(backup), "--data-dir", str(topology.data_dir(node.name)), *member)
    cluster = Cluster(topology)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


async def test_a_backup_under_load_restores_to_the_state_at_its_revision(
    kv_cluster: ClusterFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: Captured,
    record_property: Callable[[str, object], None],
) -> None:
    cluster = kv_cluster(3)
    kv = Kv(cluster.endpoints, monkeypatch, capfdbinary)
    backup = tmp_path / "store.kvsnap"
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S, batching=True) as client:
        writer = Writer(client)
        began = time.monotonic()
        writing = [asyncio.create_task(writer.run(number)) for number in range(WRITERS)]
        await writer.until(3_000)
        await asyncio.to_thread(kv, "snapshot", "save", str(backup))
        at_the_end = len(writer.acknowledged)
        await writer.until(at_the_end + 1_000)
        writer.stopped = True
        await asyncio.gather(*writing)
        record_property("writes_per_s", round(len(writer.acknowledged) / (time.monotonic() - began)))
        found, _ = verify(OsDisk(), str(backup))
        assert 3_000 <= found.revision <= at_the_end + WRITERS
        wanted = writer.state_at(found.revision)
        assert await state_of(client, found.revision) == wanted
    with restored(kv, backup, tmp_path / "new") as new:
        async with AsyncClient(new.endpoints, timeout_s=PATIENCE_S) as client:
            assert await state_of(client) == wanted
            again = tmp_path / "again.kvsnap"
            with again.open("wb") as file:
                await client.backup(file)
            assert verify(OsDisk(), str(again))[0].digest == found.digest
            with pytest.raises(Compacted):
                async with client.watch(prefix=b"", start=found.revision) as watch:
                    await anext(watch)
            first = await client.put(b"first", b"write", level="all")
            assert first.revision == found.revision + REVISIONS_SKIPPED + 1
        assert len({view["cluster_id"] for view in new.views().values() if view} - {None}) == 1
        assert {view["cluster_id"] for view in new.views().values() if view} != {
            view["cluster_id"] for view in cluster.views().values() if view
        }


def test_what_is_saved_verified_and_restored_by_hand(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured
) -> None:
    cluster = kv_cluster(3)
    kv = Kv(cluster.endpoints, monkeypatch, capfdbinary)
    kv("put", "color", "red")
    kept = kv("put", "one", "x", "--level", "one", "-o", "raw").strip()
    kv("receipt", kept, "--wait")
    told = kv.json("snapshot", "save", str(tmp_path / "a"))
    assert (told["keys"], told["members"]) == (2, ["n1", "n2", "n3"])
    assert kv.json("snapshot", "verify", str(tmp_path / "a")) == told
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0
    lost = kv("put", "after", "y", "--level", "one", "-o", "raw").strip()
    with Client(cluster.endpoints) as client, (tmp_path / "b").open("wb") as file:
        size = client.backup(file, level="one")
    assert size == (tmp_path / "b").stat().st_size
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "torn").write_bytes(data[:-40])
    kv("snapshot", "verify", str(tmp_path / "torn"), code=7)
    kv("snapshot", "restore", str(tmp_path / "torn"), "--data-dir", str(tmp_path / "d"), code=7)
    with restored(kv, tmp_path / "a", tmp_path / "new") as new:
        at = ("--endpoints", ",".join(new.endpoints))
        assert kv("get", "color", *at) == "red"
        kv("put", "one", "again", "--level", "one", *at)
        assert kv.json("receipt", kept, *at)["state"] == "committed"
        assert kv.json("receipt", lost, *at, code=5)["reason"] == "lost"
        for _ in range(3):  # the epochs of the new directory overtake those of the old one
            new.restart("n1")
        kv("put", "one", "more", "--level", "one", *at)
        assert kv.json("receipt", lost, *at, code=5)["reason"] == "lost"
        kv("get", "color", "--revision", "1", *at, code=7)
        kv("snapshot", "restore", str(tmp_path / "a"), "--data-dir", str(new.topology.data_dir("n1")), code=7)


def test_what_one_member_has_left_becomes_a_cluster_that_others_join(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured
) -> None:
    cluster = kv_cluster(3)
    kv = Kv(cluster.endpoints, monkeypatch, capfdbinary)
    written = kv.json("put", "color", "red", "--level", "all")["revision"]
    for name in ("n2", "n3"):
        cluster.kill(name)
    node = cluster.topology.node("n1")
    old = cluster.topology.data_dir("n1")
    mine = kv("put", "mine", "pending", "--level", "one", "-o", "raw", "--endpoints", node.http).strip()
    recover = ["member", "recover", str(old), "--name", "n1", "--data-dir", str(tmp_path / "n1")]
    joiners = Joiners(tmp_path)
    recover += ["--listen-peer", joiners.choose("n1")]
    kv(*recover, "--yes", code=7)  # it still runs
    cluster.kill("n1")
    kv(*recover, stdin="n\n", code=4)
    assert not (tmp_path / "n1").exists()
    kv(*recover, stdin="y\n")
    kv(*recover, "--yes", code=7)  # there is something in it now
    try:
        joiners.start("n1")
        at = ("--endpoints", joiners.http["n1"])
        until(lambda: kv.code("get", "color", *at) == 0)
        assert kv("get", "color", *at) == "red"
        assert kv("get", "mine", *at) == "pending"
        receipt = kv.json("receipt", mine, "--wait", *at)
        assert receipt["state"] == "committed"
        assert receipt["revision"] > written
        assert kv.json("put", "next", "x", *at)["revision"] > written + REVISIONS_SKIPPED
        for name in ("n4", "n5"):
            kv("member", "add", name, joiners.choose(name), *at)
            joiners.start(name, joiners.http["n1"])
            until(lambda: kv.json("status", *at)["members"][-1]["voter"])
        assert kv.json("put", "color", "blue", "--level", "all", *at)["acked"] == 3
        # Whoever comes back from the lost cluster is a stranger.
        cluster.start("n2")
        assert [member["name"] for member in kv.json("status", *at)["members"]] == ["n1", "n4", "n5"]
        assert kv("get", "color", *at) == "blue"
    finally:
        joiners.stop()


def test_backups_that_nodes_make_by_themselves(kv_cluster: ClusterFactory, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    env = {"KV_BACKUP_DIR": str(target), "KV_BACKUP_EVERY_S": "1", "KV_BACKUP_KEEP": "2"}
    cluster = kv_cluster(3, env=env)
    (target / "mine").write_text("precious")
    with Client(cluster.endpoints) as client:

        def enough() -> bool:
            client.put(b"k", b"v")
            names = [path.name for path in target.iterdir() if path.suffix == ".kvsnap"]
            made = [int(path.name.split("-")[-2]) for path in target.iterdir() if path.suffix == ".kvsnap"]
            return len(names) >= 6 and min(made) > 20

        until(enough)
    cluster.down()
    left = sorted(path.name for path in target.iterdir())
    assert "mine" in left
    for name in ("n1", "n2", "n3"):
        own = [target / each for each in left if f"-{name}-" in each]
        assert 1 <= len(own) <= 2
        for path in own:
            assert path.suffix == ".kvsnap"
            assert verify(OsDisk(), str(path))[0].keys == 1


def test_a_backup_that_cannot_be_made_is_an_alarm(kv_cluster: ClusterFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    cluster = kv_cluster(1, env={"KV_BACKUP_DIR": str(tmp_path / "file" / "backups"), "KV_BACKUP_EVERY_S": "1"})
    with Client(cluster.endpoints) as client:
        until(lambda: [alarm["code"] for alarm in client.cluster_document()["alarms"]] == ["backup_failed"])
        (tmp_path / "file").unlink()
        until(lambda: client.cluster_document()["alarms"] == [])
    assert [path.suffix for path in (tmp_path / "file" / "backups").iterdir()] == [".kvsnap"]


def until(holds: Callable[[], bool]) -> None:
    """Ask again and again until `holds` does."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)

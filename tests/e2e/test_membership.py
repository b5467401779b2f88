"""Members of a live cluster come and go under load; wiped and strange directories are refused."""

import asyncio
import contextlib
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.audit import audit
from kvjepsen.ledger import Ledger
from kvjepsen.load import load
from kvstore.client import AsyncClient
from kvstore.errors import CannotConnect, MembershipRefused, NotAVoter
from tests.support.joiners import Joiners
from tests.support.logs import until_log

PATIENCE_S = 30.0


@pytest.fixture
def joiners(tmp_path: Path) -> Iterator[Joiners]:
    started = Joiners(tmp_path)
    try:
        yield started
    finally:
        started.stop()


async def until(client: AsyncClient, wanted: Any) -> dict[str, Any]:
    """Poll the cluster, which is not ours to await events of, until `wanted(view)`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        view = None
        with contextlib.suppress(CannotConnect):  # it may not have started yet
            view = await client.cluster_document()
        if view is not None and wanted(view):
            return view
        assert time.monotonic() < deadline, view
        await asyncio.sleep(0.05)


def voters(view: dict[str, Any]) -> list[str]:
    return [member["name"] for member in view["members"] if member["voter"]]


async def test_three_nodes_become_five_and_three_again_under_load_with_a_kill_in_the_middle(
    kv_cluster: ClusterFactory, joiners: Joiners
) -> None:
    cluster = kv_cluster(3)
    first = cluster.topology.endpoints
    ledger = Ledger()
    async with AsyncClient(first, timeout_s=20) as client, load(first, ledger, seed=5):
        for name in ("n4", "n5"):
            await client.add_member(name, joiners.choose(name))
            joiners.start(name, first[0])
            await until(client, lambda view, name=name: name in voters(view))
        leader = cluster.leader()
        assert leader is not None
        cluster.kill(leader)
        await until(client, lambda view: view["leader"] not in (None, leader))
        with pytest.raises(MembershipRefused, match="by force"):
            await client.remove_member(leader)
        assert await client.remove_member(leader, force=True) is None
        cluster.start(leader)
        present = voters(await client.cluster_document())
        other = next(name for name in cluster.topology.names if name in present)
        assert await client.remove_member(other) == 0
        # Asked of a member that stays: one that was removed is not told, and knows only that nobody talks to it.
        async with AsyncClient([joiners.http["n4"]]) as staying:
            view = await until(staying, lambda view: len(view["members"]) == 3 and view["leader"])
    left = {member["name"]: member["http"] for member in view["members"]}
    assert {"n4", "n5"} < set(left)
    found = await audit(ledger, left)
    assert found.findings == []
    assert len(ledger) > 500


async def test_a_node_that_was_started_alone_takes_in_another_without_a_restart(joiners: Joiners) -> None:
    joiners.choose("n1")
    joiners.start("n1")
    async with AsyncClient([joiners.http["n1"]], timeout_s=20) as client:
        await until(client, lambda view: view["leader"] == "n1")
        await client.put(b"from", b"before")
        taken, port = joiners.peer["n1"].rsplit(":", 1)
        with socket.create_server((taken, int(port))):  # a node that is alone leaves its port to others
            await client.add_member("n2", joiners.choose("n2"))
            joiners.start("n2", join=joiners.http["n1"])
            await joiners.until_log("n1", "cannot_listen_for_peers")
            assert (await client.put(b"while", b"nobody can come")).outcome == "committed"
        await until(client, lambda view: voters(view) == ["n1", "n2"])
        async with AsyncClient([joiners.http["n2"]], timeout_s=20) as other:
            assert await other.get_value(b"from") == b"before"
            assert (await other.put(b"to", b"both", level="all")).outcome == "committed"
    assert joiners.end("n2") == 0


async def test_a_wiped_directory_is_refused_under_its_old_name(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    leader = cluster.leader()
    assert leader is not None
    await until_log(cluster, leader, "members_changed")  # identities are bound
    victim = next(name for name in cluster.topology.names if name != leader)
    async with AsyncClient([node.http for node in cluster.topology.nodes if node.name != victim]) as client:
        await client.put(b"kept", b"1", level="all")
        cluster.kill(victim)
        shutil.rmtree(cluster.topology.data_dir(victim))
        cluster.start(victim)
        await until_log(cluster, victim, "peer_refuses_us")
        view = await client.cluster_document()
        assert next(member for member in view["members"] if member["name"] == victim)["reachable"] is False
        assert (await client.put(b"still", b"2")).outcome == "committed"
    # What it lacks is no absence: the write at level ALL is on its lost disk only.
    async with AsyncClient([cluster.topology.node(victim).http], timeout_s=2) as wiped:
        with pytest.raises(NotAVoter, match="is new"):
            await wiped.get(b"kept", level="one")


async def test_leadership_can_be_handed_to_a_named_member(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    leader = cluster.leader()
    target = next(name for name in cluster.topology.names if name != leader)
    async with AsyncClient(cluster.topology.endpoints) as client:
        assert (await client.transfer_leader(target)).leader == target

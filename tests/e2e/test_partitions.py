"""Nodes cut off from each other by link proxies: the majority goes on, the rest refuses in time, healing joins them."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kvcluster import faults
from kvcluster.lifecycle import bring_up
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import PROXIES
from kvjepsen.audit import audit
from kvjepsen.convergence import converge
from kvjepsen.ledger import Ledger
from kvjepsen.load import load
from kvstore.client import AsyncClient
from kvstore.errors import NoLeader, NoQuorum
from tests.support.commands import kv

PATIENCE_S = 15.0
REFUSAL_S_MAX = 1.5
SETTLED_S = 1.0


async def next_leader(others: list[str], former: str) -> tuple[str, float]:
    """Who leads now as one of the endpoints `others` says, and the seconds until it was so."""
    started = time.monotonic()
    async with AsyncClient(others) as client:
        while (view := await client.cluster_document())["leader"] in (None, former):
            assert time.monotonic() - started < PATIENCE_S, view
            await asyncio.sleep(0.02)
    return view["leader"], time.monotonic() - started


async def put_once(endpoint: str, timeout_ms: int) -> tuple[int, str, float]:
    """Status, code or outcome, and seconds of one PUT through one node."""
    started = time.monotonic()
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{endpoint}/v1/kv/cut-off?timeout_ms={timeout_ms}", data=b"x") as answer,
    ):
        told: dict[str, Any] = json.loads(await answer.read())
    return answer.status, told.get("code", told["outcome"]), time.monotonic() - started


async def read_when_back(endpoint: str, key: bytes) -> bytes | None:
    """What one node answers as soon as it has dialed a majority again."""
    deadline = time.monotonic() + PATIENCE_S
    async with AsyncClient([endpoint]) as client:
        while True:
            try:
                return await client.get_value(key)
            except (NoQuorum, NoLeader):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)


async def whole(cluster: Cluster, ledger: Ledger) -> None:
    await converge(cluster)
    found = await audit(ledger, {node.name: node.http for node in cluster.topology.nodes})
    assert found.findings == []


def endpoints_without(cluster: Cluster, name: str) -> list[str]:
    return [node.http for node in cluster.topology.nodes if node.name != name]


@pytest.mark.parametrize("how", ["stalled", pytest.param("reset", marks=pytest.mark.long)])
async def test_a_leader_cut_off_is_replaced_and_refuses_until_it_is_back(kv_cluster: ClusterFactory, how: str) -> None:
    cluster = kv_cluster(3, proxy=True)
    old = cluster.leader()
    assert old is not None
    others = ",".join(name for name in cluster.topology.names if name != old)
    ledger = Ledger()
    async with (
        load(cluster.topology.endpoints, ledger, seed=3, keys_per_writer=20),
        AsyncClient(endpoints_without(cluster, old)) as majority,
    ):
        faults.partition(cluster.topology, f"{old}|{others}", reset=how == "reset")
        # Until it has noticed: the outcome of what it appended is unknown, or nothing was appended.
        status, code, seconds = await put_once(cluster.topology.node(old).http, 1_000)
        assert (status, code) in ((504, "timeout"), (503, "no_quorum"), (503, "no_leader"))
        assert seconds < REFUSAL_S_MAX
        new, _ = await next_leader(endpoints_without(cluster, old), old)
        assert new != old
        assert (await majority.put(b"other-side", b"1")).outcome == "committed"
        await asyncio.sleep(SETTLED_S)  # longer than the step-down and its patience
        status, code, seconds = await put_once(cluster.topology.node(old).http, 1_000)
        assert (status, code) == (503, "no_quorum")
        assert seconds < REFUSAL_S_MAX
        faults.heal(cluster.topology)
        assert await read_when_back(cluster.topology.node(old).http, b"other-side") == b"1"
    await whole(cluster, ledger)
    assert ledger.acknowledged > 50  # a write at ALL waits for the whole of its time while a node is cut off


async def test_one_way_cuts_end_in_one_leader_that_all_obey(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3, proxy=True)
    ledger = Ledger()
    async with load(cluster.topology.endpoints, ledger, seed=4, keys_per_writer=20):
        # A leader that hears everybody and reaches nobody must make way.
        mute = cluster.leader()
        assert mute is not None
        others = ",".join(name for name in cluster.topology.names if name != mute)
        faults.partition(cluster.topology, f"{mute}|{others}", one_way=True)
        await next_leader(endpoints_without(cluster, mute), mute)
        async with AsyncClient(endpoints_without(cluster, mute)) as majority:
            assert (await majority.put(b"mute", b"1")).outcome == "committed"
        faults.heal(cluster.topology)
        await converge_leader(cluster)
        # A follower that reaches everybody and hears nobody must not unseat the leader (pre-vote).
        leader = cluster.leader()
        assert leader is not None
        deaf = next(name for name in cluster.topology.names if name != leader)
        term = await term_at(cluster, leader)
        others = ",".join(name for name in cluster.topology.names if name != deaf)
        faults.partition(cluster.topology, f"{others}|{deaf}", one_way=True)
        await asyncio.sleep(SETTLED_S)  # several election timeouts of the one that hears nothing
        assert (await term_at(cluster, leader), cluster.leader()) == (term, leader)
        faults.heal(cluster.topology)
    await whole(cluster, ledger)
    assert ledger.acknowledged > 50  # a write at ALL waits for the whole of its time while a node is cut off


async def converge_leader(cluster: Cluster) -> None:
    """Wait until every node names the same leader."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        named = set()
        for node in cluster.topology.nodes:
            async with AsyncClient([node.http]) as client:
                named.add((await client.cluster_document())["leader"])
        if len(named) == 1 and None not in named:
            return
        assert time.monotonic() < deadline, named
        await asyncio.sleep(0.02)


async def term_at(cluster: Cluster, name: str) -> int:
    async with AsyncClient([cluster.topology.node(name).http]) as client:
        return int((await client.cluster_document())["term"])


def test_the_commands_and_the_process_behind_them(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    try:
        assert kv("cluster", "up", "--proxy", "--dir", str(directory)).returncode == 0
        cut = kv("cluster", "partition", "n1|n2", "--one-way", "--dir", str(directory), "-o", "json")
        links = [{"from": "n1", "to": "n2", "state": "stalled", "delay_ms": 0}]
        assert json.loads(cut.stdout) == {"dir": str(directory), "links": links}, cut.stderr
        assert "n1    n2  stalled  0" in kv("cluster", "status", "--dir", str(directory)).stdout
        healed = kv("cluster", "heal", "--dir", str(directory), "-o", "json")
        assert json.loads(healed.stdout)["links"] == []

        cluster = Cluster.open(directory)
        ports = cluster.topology.ports(PROXIES)
        assert kv("cluster", "down", "--dir", str(directory)).returncode == 0
        assert [cluster.state(name) for name in cluster.topology.processes] == ["dead"] * 4
        assert bring_up(directory).topology.ports(PROXIES) == ports
    finally:
        cluster = Cluster.open(directory)
        for name in cluster.topology.processes:
            cluster.kill(name)

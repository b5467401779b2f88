"""TLS on real clusters: started by `kv cluster up --tls`, refusing whom it should, and outliving its CA under load."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kvcluster import faults, probe
from kvcluster.lifecycle import bring_up, purge
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore import limits
from kvstore.client import AsyncClient, Tls
from kvstore.consensus import wire
from kvstore.errors import CannotConnect
from kvstore.security import authority
from tests.e2e.test_cluster_commands import stop
from tests.support.commands import kv
from tests.support.joiners import Joiners
from tests.support.pki import Pki

PATIENCE_S = 20.0


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cluster"
    stop(tmp_path / "cluster")


def test_up_with_tls_makes_its_certificates_and_every_command_works_with_them(directory: Path) -> None:
    where = ("--dir", str(directory), "-o", "json")
    done = kv("cluster", "up", "--nodes", "3", "--tls", *where)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert all(endpoint.startswith("https://127.0.0.1:") for endpoint in document["endpoints"])
    assert document["endpoints"] == [node["http"] for node in document["nodes"]]
    assert f"KV_CACERT={directory}/tls/ca.pem" in kv("cluster", "env", "--dir", str(directory)).stdout
    keys = list((directory / "tls").glob("*-key.pem"))
    assert len(keys) == 5  # the CA's, three nodes', a client's
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    status = json.loads(kv("cluster", "status", *where).stdout)
    assert sorted(node["role"] for node in status["nodes"]) == ["follower", "follower", "leader"]
    there = ["--endpoints", ",".join(document["endpoints"])]
    assert kv("put", "a", "b", "--timeout", "0.5", *there).returncode == 3  # it trusts nobody
    there += [word for name, path in document["tls"].items() for word in (f"--{name}", path)]
    assert kv("put", "a", "b", *there).returncode == 0
    members = json.loads(kv("status", "-o", "json", *there).stdout)["members"]
    assert [member["http"] for member in members] == document["endpoints"]
    assert bring_up(directory, 3, tls=True).endpoints == document["endpoints"]
    purge(Cluster.open(directory))
    assert not directory.exists()


@pytest.mark.long
def test_a_running_node_says_and_counts_whom_it_refuses_at_each_port(
    kv_cluster: ClusterFactory, tmp_path: Path
) -> None:
    cluster = kv_cluster(2, tls=True, redis=True, env={"KV_TLS_CLIENT_AUTH": "required"})
    node = cluster.topology.node("n1")
    ours, stranger = Pki.__new__(Pki), Pki(tmp_path / "stranger")
    assert cluster.topology.tls is not None
    ours.directory = cluster.topology.tls.directory
    assert node.redis_port is not None
    ports = {"http": node.http_port, "redis": node.redis_port, "peer": node.peer_port}
    contexts = {
        "not_tls": None,
        "no_certificate": ours.context(),
        "unknown_ca": ours.context(stranger.node("n2")),
        "expired": ours.context(ours.node("old", age_days=400)),
    }
    expected = {(door, reason) for door in ports for reason in contexts} | {("peer", "wrong_name")}
    for port in ports.values():
        for context in contexts.values():
            _knock(port, context)
    # The right CA, and a node's certificate; but it says hello as another node.
    with _dial(node.peer_port, ours.context(ours.node("n9"))) as there:
        view = probe.cluster_view(node)
        assert view is not None
        there.sendall(wire.encode_greeting(wire.Hello(1, view["cluster_id"], "n2", "id", 1, "https://x")))
        assert there.recv(1) != b""  # a refusal, with the reason
    deadline = time.monotonic() + PATIENCE_S
    while True:
        told = [
            json.loads(line) for line in cluster.topology.log_path("n1").read_text().splitlines() if line[:1] == "{"
        ]
        said = {(line["door"], line["reason"]): line["detail"] for line in told if line["event"] == "tls_refused"}
        if expected <= said.keys():
            break
        assert time.monotonic() < deadline, expected - said.keys()
        time.sleep(0.05)
    for door, reason in expected:
        count = probe.metric(node, f'kv_tls_refused_total{{door="{door}",reason="{reason}"}}')
        assert count is not None, (door, reason)
        assert count >= 1
    assert "n9" in said["peer", "wrong_name"]
    assert probe.metric(node, "kv_peer_refused_handshakes_total") == 1


def _dial(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    return context.wrap_socket(raw, server_hostname="localhost")


def _knock(port: int, context: ssl.SSLContext | None) -> None:
    """Connect, say something, and expect nothing but an end."""
    if context is None:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
            plain.sendall(b"PING\r\n")
            while plain.recv(4_096):
                pass
        return
    with suppress(ssl.SSLError), _dial(port, context) as there:
        there.sendall(b"PING\r\n")
        raise AssertionError(there.recv(1))


@pytest.mark.long
async def test_a_node_joins_a_cluster_with_tls_by_its_own_certificate(
    kv_cluster: ClusterFactory, tmp_path: Path
) -> None:
    cluster = kv_cluster(2, tls=True, env={"KV_TLS_CLIENT_AUTH": "required"})
    there = cluster.topology.tls
    assert there is not None
    made = authority.make_node(there.directory, "n9")
    joiners = Joiners(tmp_path)
    try:
        async with AsyncClient(cluster.endpoints, tls=cluster.tls, timeout_s=20.0) as client:
            await client.put(b"k", b"v")
            await client.add_member("n9", joiners.choose("n9"))
            flags = ("--tls-cert", str(made.cert), "--tls-key", str(made.key), "--tls-ca", str(there.ca))
            joiners.start("n9", cluster.endpoints[0], None, *flags)
            async with asyncio.timeout(PATIENCE_S):
                while not any(m.name == "n9" and m.voter for m in (await client.cluster()).members):
                    await asyncio.sleep(0.05)
        own = joiners.http["n9"].replace("http:", "https:")
        async with AsyncClient([own], tls=cluster.tls, timeout_s=20.0) as alone:
            assert await alone.get_value(b"k", level="all") == b"v"
    finally:
        joiners.stop()


async def test_the_ca_is_replaced_under_load_and_no_request_fails(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_FILES_CHECK_S", 0.0)  # the clients of this process look each time
    cluster = kv_cluster(3, tls=True, proxy=True, env={"KV_TLS_CLIENT_AUTH": "required"})
    rotation = await asyncio.to_thread(Rotation, cluster, tmp_path)
    load = [asyncio.create_task(rotation.load(number)) for number in range(4)]
    load.append(asyncio.create_task(rotation.load_by_new_clients()))
    try:
        for step in (
            rotation.trust_both,
            rotation.show_new_certificates,
            rotation.show_new_client_certificate,
            rotation.trust_the_new_one_only,
        ):
            done = list(rotation.counts)
            await step()
            await rotation.make_all_links_anew()
            # Everybody has been served since, also by connections that were begun since.
            async with asyncio.timeout(PATIENCE_S):
                while any(count < before + 5 for count, before in zip(rotation.counts, done, strict=True)):
                    await asyncio.sleep(0.02)
                    assert not any(task.done() for task in load), [t.exception() for t in load if t.done()]
    finally:
        rotation.over = True
        failed = [each for each in await asyncio.gather(*load, return_exceptions=True) if each is not None]
    assert failed == []
    assert sum(rotation.counts) > 100
    for node in cluster.topology.nodes:
        assert probe.metric(node, 'kv_tls_reloads_total{outcome="failed"}') == 0
        assert probe.metric(node, 'kv_tls_reloads_total{outcome="ok"}') == 3
        assert probe.metric(node, 'kv_tls_refused_total{door="peer",reason="unknown_ca"}') is None
    with pytest.raises(CannotConnect, match="does not accept the certificate"):
        async with AsyncClient(cluster.endpoints, tls=rotation.revoked, timeout_s=1.0) as late:
            await late.put(b"late", b"v")


class Rotation:
    """A cluster whose CA is replaced in the steps of docs/operations.md, and clients that go on meanwhile."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        assert cluster.topology.tls is not None
        self._files = cluster.topology.tls
        self._new = directory / "new"
        authority.make_ca(self._new)
        for name in cluster.topology.names:
            authority.make_node(self._new, name)
        self._client = authority.make_client(self._new, "admin")
        old = directory / "old"
        shutil.copytree(self._files.directory, old)
        self._bundle = (old / "ca.pem").read_bytes() + (self._new / "ca.pem").read_bytes()
        self.revoked = Tls(str(self._new / "ca.pem"), str(old / "client-admin.pem"), str(old / "client-admin-key.pem"))
        self.over = False
        self.counts = [0] * 5
        self._reloads = 0

    async def load(self, number: int) -> None:
        """Puts and gets by one client, as fast as they are answered. Raises what fails."""
        async with AsyncClient(self.cluster.endpoints, tls=self.cluster.tls, timeout_s=10.0) as client:
            while not self.over:
                await self._operation(client, number)

    async def load_by_new_clients(self) -> None:
        """The same, each time by a client and a connection of its own."""
        while not self.over:
            async with AsyncClient(self.cluster.endpoints, tls=self.cluster.tls, timeout_s=10.0) as client:
                await self._operation(client, 4)

    async def _operation(self, client: AsyncClient, number: int) -> None:
        value = b"%d" % self.counts[number]
        await client.put(b"k%d" % number, value)
        record = await client.get(b"k%d" % number)
        assert record is not None
        assert record.value == value
        self.counts[number] += 1

    async def trust_both(self) -> None:
        _replace(self._files.ca, self._bundle)
        await self._taken()

    async def show_new_certificates(self) -> None:
        for name in self.cluster.topology.names:
            for there, new in zip(self._files.node(name), authority.paths(self._new, f"node-{name}"), strict=True):
                _replace(there, new.read_bytes())
        await self._taken()

    async def show_new_client_certificate(self) -> None:
        for there, new in zip(self._files.client, (self._client.cert, self._client.key), strict=True):
            _replace(there, new.read_bytes())

    async def trust_the_new_one_only(self) -> None:
        _replace(self._files.ca, (self._new / "ca.pem").read_bytes())
        await self._taken()

    async def _taken(self) -> None:
        """Ask all nodes to look, and wait until each has."""
        self._reloads += 1
        for name in self.cluster.topology.names:
            process = self.cluster.process(name)
            assert process is not None
            os.kill(process.pid, signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            while await asyncio.to_thread(self._not_yet):
                await asyncio.sleep(0.02)

    def _not_yet(self) -> bool:
        read = [probe.metric(node, 'kv_tls_reloads_total{outcome="ok"}') for node in self.cluster.topology.nodes]
        return any(count != self._reloads for count in read)

    async def make_all_links_anew(self) -> None:
        """Peers shake hands again, with what they have now."""
        await asyncio.to_thread(faults.reset, self.cluster.topology, None)
        await asyncio.to_thread(faults.heal, self.cluster.topology)
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(self._all_connected):
                await asyncio.sleep(0.02)

    def _all_connected(self) -> bool:
        views: list[dict[str, Any] | None] = list(self.cluster.views().values())
        return len(views) == 3 and all(
            view is not None and all(member["reachable"] for member in view["members"]) for view in views
        )


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.chmod(path.stat().st_mode)
    beside.replace(path)

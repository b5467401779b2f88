"""A cluster directory: names, ports and the file that holds them."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvcluster import topology
from kvcluster.topology import PROXIES, BadClusterDirectory, Topology, UnknownNode, free_ports, port_is_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind((topology.HOST, 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_nodes_are_numbered_and_share_no_port(tmp_path: Path) -> None:
    created = Topology.create(tmp_path, 15)
    assert created.names == [f"n{i}" for i in range(1, 16)]
    assert len({port for node in created.nodes for port in (node.http_port, node.peer_port)}) == 30


def test_with_proxies_every_directed_pair_has_a_port_of_its_own(tmp_path: Path) -> None:
    created = Topology.create(tmp_path, 15, proxy=True)
    assert len({(link.source, link.target) for link in created.links}) == len(created.links) == 15 * 14
    assert len({port for name in created.processes for port in created.ports(name)}) == 30 + 15 * 14
    created.save()
    assert Topology.load(tmp_path) == created


def test_a_node_dials_its_own_proxy_of_another_or_that_one_itself(tmp_path: Path) -> None:
    proxied, direct = Topology.create(tmp_path, 3, proxy=True), Topology.create(tmp_path, 3)
    assert len({proxied.dialed(source, "n3") for source in ("n1", "n2")} | {proxied.node("n3").peer}) == 3
    assert direct.dialed("n1", "n3") == direct.node("n3").peer
    assert PROXIES in proxied.processes
    assert PROXIES not in direct.processes


@pytest.mark.parametrize("count", [0, -1, 16])
def test_a_cluster_has_1_to_15_nodes(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 15"):
        Topology.create(tmp_path, count)


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    created = Topology.create(tmp_path, 3)
    created.save()
    assert Topology.load(tmp_path) == created


def test_redis_doors_have_ports_of_their_own_and_are_remembered(tmp_path: Path) -> None:
    created = Topology.create(tmp_path, 5, proxy=True, redis=True)
    ports = [port for name in created.processes for port in created.ports(name)]
    assert len(set(ports)) == len(ports) == 3 * 5 + 20
    assert created.node("n1").redis == f"127.0.0.1:{created.node('n1').redis_port}"
    created.save()
    assert Topology.load(tmp_path) == created
    assert Topology.create(tmp_path, 1).node("n1").redis is None


def test_two_clusters_have_different_tokens(tmp_path: Path) -> None:
    assert Topology.create(tmp_path, 1).token != Topology.create(tmp_path, 1).token


def test_every_file_of_a_node_lies_in_its_own_directory(tmp_path: Path) -> None:
    created = Topology.create(tmp_path, 2)
    for path in (created.data_dir("n2"), created.log_path("n2"), created.pid_path("n2")):
        assert path.parent == tmp_path / "n2"


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created = Topology.create(tmp_path, 3)
    created.save()

    def fail(fd: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        Topology.create(tmp_path, 5).save()
    assert Topology.load(tmp_path) == created
    assert [path.name for path in tmp_path.iterdir()] == [topology.FILE_NAME]


def test_a_directory_without_a_cluster_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadClusterDirectory, match=f"{tmp_path} holds no cluster"):
        Topology.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"version": 2, "token": "t", "nodes": []}),
        json.dumps({"version": 1, "token": "t", "nodes": []}),
        json.dumps({"version": 1, "token": "t", "nodes": [{"name": "n1"}]}),
        json.dumps(
            {
                "version": 1,
                "token": "t",
                "nodes": [{"name": "n1", "http_port": 1, "peer_port": 2}],
                "links": [{"from": "n1", "to": "n2", "port": 3}],
            }
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / topology.FILE_NAME).write_text(text)
    with pytest.raises(BadClusterDirectory, match=topology.FILE_NAME):
        Topology.load(tmp_path)


def test_an_unknown_node_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownNode, match=r"no node 'n4' .*n1, n2, n3"):
        Topology.create(tmp_path, 3).node("n4")


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    spare = free_ports(1)[0]
    monkeypatch.setattr(topology, "_candidates", lambda: [taken_port, spare])
    assert free_ports(1) == [spare]


def test_a_port_of_a_cluster_whose_nodes_are_down_is_passed_over_until_the_cluster_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Topology.create(tmp_path, 1)
    there.save()
    theirs, spare = there.nodes[0].peer_port, free_ports(1)[0]
    monkeypatch.setattr(topology, "_candidates", lambda: [theirs, spare])
    assert port_is_free(theirs)
    assert free_ports(1) == [spare]
    (tmp_path / topology.FILE_NAME).unlink()
    assert free_ports(1) == [theirs]


def test_no_candidate_left_takes_any_free_port(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    monkeypatch.setattr(topology, "_candidates", lambda: [taken_port])
    first, second = free_ports(2)
    assert len({first, second, taken_port}) == 3


def test_ports_are_not_those_of_outgoing_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ephemeral = tmp_path / "range"
    ephemeral.write_text("20000\t65000\n")
    monkeypatch.setattr(topology, "_EPHEMERAL", ephemeral)
    assert all(port > 65_000 for port in free_ports(4))


def test_a_taken_port_is_not_free(taken_port: int) -> None:
    assert not port_is_free(taken_port)
    assert port_is_free(free_ports(1)[0])

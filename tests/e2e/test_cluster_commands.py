"""`kv cluster` as a user runs it: processes, exit codes, and the JSON that scripts read."""

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcluster.supervisor import Cluster
from kvcluster.topology import FILE_NAME
from tests.support.commands import kv


def kv_json(*arguments: str) -> dict[str, Any]:
    done = kv(*arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def stop(directory: Path) -> None:
    if (directory / FILE_NAME).exists():
        cluster = Cluster.open(directory)
        for name in cluster.topology.names:
            cluster.kill(name)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running cluster of three nodes, shared by the tests that leave it so."""
    directory = tmp_path_factory.mktemp("commands") / "shared"
    try:
        assert kv("cluster", "up", "--dir", str(directory)).returncode == 0
        yield directory
    finally:
        stop(directory)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A place for a cluster of the test's own."""
    yield tmp_path / "cluster"
    stop(tmp_path / "cluster")


def test_up_prints_one_json_line_when_every_node_is_ready(directory: Path) -> None:
    done = kv("cluster", "up", "--nodes", "3", "--dir", str(directory), "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "n3 is ready" in done.stderr
    document = json.loads(done.stdout)
    assert list(document) == ["dir", "cluster_id", "endpoints", "nodes"]
    assert document["dir"] == str(directory)
    assert document["cluster_id"]
    assert document["endpoints"] == [node["http"] for node in document["nodes"]]
    for number, node in enumerate(document["nodes"], start=1):
        assert list(node) == ["name", "http", "peer", "pid", "data_dir"]
        assert node["name"] == f"n{number}"
        assert Path(node["data_dir"]).is_dir()
        os.kill(node["pid"], 0)
        with urllib.request.urlopen(f"{node['http']}/readyz", timeout=5) as answer:
            assert answer.status == 200


def test_env_prints_what_a_shell_needs(cluster: Path) -> None:
    done = kv("cluster", "env", "--dir", str(cluster))
    given = dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())
    assert given == kv_json("cluster", "env", "--dir", str(cluster))
    assert given["KV_CLUSTER_DIR"] == str(cluster)
    with urllib.request.urlopen(f"{given['KV_ENDPOINTS'].split(',')[0]}/readyz", timeout=5) as answer:
        assert answer.status == 200


def test_status_adds_state_and_role(cluster: Path) -> None:
    nodes = kv_json("cluster", "status", "--dir", str(cluster))["nodes"]
    assert [list(node) for node in nodes] == [["name", "http", "peer", "pid", "data_dir", "state", "role"]] * 3
    assert [node["state"] for node in nodes] == ["running"] * 3
    assert sorted(node["role"] for node in nodes) == ["follower", "follower", "leader"]


def test_a_paused_node_is_shown_as_such_and_resumes(cluster: Path) -> None:
    paused = kv_json("cluster", "pause", "n1", "--dir", str(cluster))["nodes"]
    assert [(node["name"], node["state"]) for node in paused] == [("n1", "paused")]
    shown = kv_json("cluster", "status", "--dir", str(cluster))["nodes"][0]
    assert (shown["state"], shown["role"]) == ("paused", None)
    assert kv_json("cluster", "resume", "n1", "--dir", str(cluster))["nodes"][0]["state"] == "running"


def test_up_again_brings_back_a_killed_leader_as_it_was(cluster: Path) -> None:
    before = kv_json("cluster", "up", "--dir", str(cluster))
    done = kv("cluster", "kill", "leader", "--dir", str(cluster), "-o", "json")
    killed = json.loads(done.stdout)["nodes"][0]
    assert done.stderr == f"kv: killed {killed['name']}, which led, with SIGKILL\n"
    assert (killed["state"], killed["pid"]) == ("dead", None)
    after = kv_json("cluster", "up", "--dir", str(cluster))
    assert after["cluster_id"] == before["cluster_id"]
    for old, new in zip(before["nodes"], after["nodes"], strict=True):
        assert (new["pid"] != old["pid"]) == (new["name"] == killed["name"])
        assert new | {"pid": None} == old | {"pid": None}


def test_restart_gives_a_node_a_new_process(cluster: Path) -> None:
    before = kv_json("cluster", "status", "--dir", str(cluster))["nodes"][1]["pid"]
    after = kv_json("cluster", "restart", "n2", "--dir", str(cluster))["nodes"][0]
    assert after["state"] == "running"
    assert after["pid"] != before


def test_down_keeps_the_data_and_purge_deletes_it(directory: Path) -> None:
    endpoint = kv_json("cluster", "up", "--nodes", "1", "--dir", str(directory))["endpoints"][0]
    assert kv("put", "k", "kept", "--endpoints", endpoint).returncode == 0
    kept = f"the data is kept in {directory}: kv cluster up --dir {directory} starts it again"
    for said in ("stopped", "was not running"):
        done = kv("cluster", "down", "--dir", str(directory), "-o", "json")
        document = {"dir": str(directory), "nodes": [{"name": "n1", "state": "stopped", "pid": None}]}
        assert (done.returncode, json.loads(done.stdout)) == (0, document)
        assert done.stderr == f"kv: {said}; {kept}\n"
    assert "is not running: kv cluster up --dir" in kv("get", "k", "--endpoints", endpoint).stderr
    assert kv_json("cluster", "up", "--dir", str(directory))["endpoints"] == [endpoint]
    assert kv("get", "k", "--endpoints", endpoint).stdout.strip() == "kept"
    purged = kv("cluster", "down", "--purge", "--dir", str(directory))
    assert (purged.returncode, purged.stderr) == (0, "kv: stopped, data deleted\n")
    assert not directory.exists()
    gone = kv("cluster", "down", "--purge", "--dir", str(directory))
    assert (gone.returncode, gone.stdout) == (2, "")
    assert f"{directory} holds no cluster" in gone.stderr
    assert "nothing was stopped or deleted" in gone.stderr
    assert "up" not in gone.stderr.replace(str(directory), "")


def test_no_leader_in_time_is_exit_code_4(directory: Path) -> None:
    assert kv("cluster", "up", "--dir", str(directory)).returncode == 0
    assert kv("cluster", "kill", "n1", "n2", "n3", "--dir", str(directory)).returncode == 0
    late = kv("cluster", "restart", "n1", "--wait", "1", "--dir", str(directory))
    assert (late.returncode, late.stdout) == (4, "")
    assert "n1" in late.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["status", "--dir", "{}/nowhere"], "kv cluster up --dir"),
        (["kill", "n4", "--dir", "{}"], "n1, n2, n3"),
        (["up", "--nodes", "5", "--dir", "{}"], "holds a cluster of 3 nodes"),
        (["up", "--nodes", "16", "--dir", "{}/new"], "from 1 to 15"),
        (["up", "--nodes", "0", "--dir", "{}/new"], "from 1 to 15"),
        (["kill", "--dir", "{}"], "NODE"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2_and_says_why(cluster: Path, arguments: list[str], told: str) -> None:
    done = kv("cluster", *(argument.format(cluster) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr

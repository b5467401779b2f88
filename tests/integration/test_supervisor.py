"""The supervisor and real processes; a stand-in for the node shows what a real one cannot be made to do on demand."""

import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvcluster import lifecycle, processes, topology
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster, NodeCorrupt, NodeEnded, NotReady, PortTaken
from kvcluster.topology import FILE_NAME, BadClusterDirectory, NodeSpec, Topology

# Answers /readyz on its port with the status in the file `ready` (200 if there is none); `mode` spoils the start.
STAND_IN = """
import http.server, pathlib, signal, socket, sys
port, mode = int(sys.argv[1]), sys.argv[2]
if mode.isdigit():
    sys.exit("cannot trust this file") if mode == "1" else sys.exit(int(mode))
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = int(pathlib.Path("ready").read_text()) if pathlib.Path("ready").exists() else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b'{"detail": "no leader is known"}')
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is wrong with the stand-in for each node; empty for nothing."""
    chosen: dict[str, str] = {}

    def command(cluster: Cluster, name: str) -> list[str]:
        port = str(cluster.topology.node(name).http_port)
        return [sys.executable, "-c", STAND_IN, port, chosen.get(name, "good")]

    monkeypatch.setattr(Cluster, "_command", command)
    return chosen


@pytest.fixture
def directory(tmp_path: Path, modes: dict[str, str]) -> Iterator[Path]:
    path = tmp_path / "cluster"
    yield path
    if (path / FILE_NAME).exists():
        cluster = Cluster.open(path)
        for name in cluster.topology.names:
            cluster.kill(name)


def states(cluster: Cluster) -> list[str]:
    return [cluster.state(name) for name in cluster.topology.names]


def test_a_node_runs_in_a_session_of_its_own_and_its_directory(directory: Path) -> None:
    cluster = bring_up(directory, 1)
    process = cluster.process("n1")
    assert process is not None
    assert os.getsid(process.pid) == process.pid
    assert Path(f"/proc/{process.pid}/cwd").readlink() == directory / "n1"


def test_another_program_sees_and_stops_what_this_one_started(directory: Path) -> None:
    first = bring_up(directory, 2)
    second = Cluster.open(directory)
    assert states(second) == ["running", "running"]
    second.down()
    assert states(first) == ["dead", "dead"]


def conditions(cluster: Cluster) -> list[str]:
    return [cluster.condition(name) for name in cluster.topology.names]


def test_who_was_asked_to_end_is_stopped_and_who_was_killed_is_dead(directory: Path) -> None:
    cluster = bring_up(directory, 2)
    assert cluster.kill("n1")
    assert conditions(cluster) == ["dead", "running"]
    cluster.stop("n2")
    assert conditions(Cluster.open(directory)) == ["dead", "stopped"]
    assert [node["state"] for node in cluster.status()["nodes"]] == ["dead", "stopped"]


def test_down_says_whether_anything_ran_and_wants_all_of_them_stopped(directory: Path) -> None:
    cluster = bring_up(directory, 2)
    cluster.kill("n1")
    cluster.pause("n2")
    assert cluster.down()
    assert conditions(cluster) == ["stopped", "stopped"]
    assert not cluster.down()
    assert not lifecycle.purge(cluster)


def test_up_again_says_what_is_running_already(directory: Path) -> None:
    lines: list[str] = []
    cluster = bring_up(directory, 2, progress=lines.append)
    assert not [line for line in lines if "already" in line]
    bring_up(directory, progress=lines.append)
    assert f"the cluster in {directory} is running already" in lines
    cluster.kill("n2")
    bring_up(directory, progress=lines.append)
    assert "n1 is running already" in lines


def test_up_again_starts_only_what_is_dead_on_the_same_ports(directory: Path) -> None:
    cluster = bring_up(directory, 2)
    pids = [cluster.process(name) for name in cluster.topology.names]
    assert cluster.kill("n2")
    again = bring_up(directory)
    assert again.topology == cluster.topology
    assert again.process("n1") == pids[0]
    assert again.process("n2") != pids[1]
    assert states(again) == ["running", "running"]


def test_up_again_wakes_what_is_paused(directory: Path) -> None:
    cluster = bring_up(directory, 1)
    assert cluster.pause("n1")
    assert states(cluster) == ["paused"]
    before = cluster.process("n1")
    assert bring_up(directory).process("n1") == before
    assert states(cluster) == ["running"]


def test_up_again_with_another_number_of_nodes_is_refused(directory: Path) -> None:
    bring_up(directory, 1)
    with pytest.raises(BadClusterDirectory, match="cluster of 1 nodes, not 3"):
        bring_up(directory, 3)


def test_redis_doors_are_given_at_the_first_start_only(directory: Path) -> None:
    cluster = bring_up(directory, 1, redis=True)
    assert cluster.topology.node("n1").redis is not None
    assert bring_up(directory, redis=True).topology == cluster.topology
    lifecycle.purge(cluster)
    bring_up(directory, 1)
    with pytest.raises(BadClusterDirectory, match="without Redis doors"):
        bring_up(directory, redis=True)


def test_data_without_a_cluster_file_is_never_started_over(directory: Path) -> None:
    (directory / "n2").mkdir(parents=True)
    with pytest.raises(BadClusterDirectory, match="holds n2"):
        bring_up(directory, 3)
    assert not (directory / FILE_NAME).exists()


def test_commands_for_a_dead_node_change_nothing(directory: Path) -> None:
    cluster = bring_up(directory, 1)
    assert cluster.kill("n1")
    assert not cluster.kill("n1")
    assert not cluster.pause("n1")
    assert not cluster.resume("n1")


def test_a_reused_pid_is_left_alone(directory: Path) -> None:
    cluster = bring_up(directory, 1)
    cluster.kill("n1")
    myself = processes.identify(os.getpid())
    assert myself is not None
    cluster.topology.pid_path("n1").write_text(json.dumps(myself._replace(started=myself.started + 1)))
    assert cluster.state("n1") == "dead"
    assert not cluster.kill("n1")
    cluster.down()


def test_a_node_that_ignores_the_request_to_end_is_killed(
    directory: Path, modes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvcluster.supervisor.STOP_S_MAX", 0.2)
    modes["n1"] = "stubborn"
    cluster = bring_up(directory, 1)
    cluster.down()
    assert states(cluster) == ["dead"]


def test_a_paused_node_is_stopped_too(directory: Path) -> None:
    cluster = bring_up(directory, 1)
    cluster.pause("n1")
    cluster.down()
    assert states(cluster) == ["dead"]


def test_a_node_that_is_not_ready_in_time_is_named_with_its_reason(directory: Path) -> None:
    cluster = bring_up(directory, 2)
    (cluster.topology.home("n2") / "ready").write_text("503")
    with pytest.raises(NotReady, match="n2 no leader is known") as refused:
        cluster.up(timeout_s=0.1)
    assert "n1" not in str(refused.value)
    assert refused.value.exit_code == 4
    assert states(cluster) == ["running", "running"]


def test_a_node_that_ends_is_told_at_once_with_the_end_of_its_log(directory: Path, modes: dict[str, str]) -> None:
    modes["n2"] = "1"
    with pytest.raises(NodeEnded, match=r"(?s)n2 ended with status 1.*cannot trust this file"):
        bring_up(directory, 2, timeout_s=60)


def test_a_node_with_corrupt_data_gives_exit_code_7(directory: Path, modes: dict[str, str]) -> None:
    modes["n1"] = "7"
    with pytest.raises(NodeCorrupt) as refused:
        bring_up(directory, 1)
    assert refused.value.exit_code == 7


def choose_once(monkeypatch: pytest.MonkeyPatch, stolen: int) -> None:
    """The first topology that is made has the port `stolen` for n2; later ones are as ever."""
    create = Topology.create

    def create_once(path: Path, count: int, **options: bool) -> Topology:
        monkeypatch.setattr(Topology, "create", create)
        made = create(path, count, **options)
        return Topology(path, made.token, (made.nodes[0], NodeSpec("n2", stolen, made.nodes[1].peer_port)))

    monkeypatch.setattr(Topology, "create", create_once)


def test_a_port_taken_before_the_first_start_leads_to_other_ports(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as thief:
        thief.bind((topology.HOST, 0))
        thief.listen()
        stolen = thief.getsockname()[1]

        choose_once(monkeypatch, stolen)
        lines: list[str] = []
        cluster = bring_up(directory, 2, progress=lines.append)
    assert stolen not in [node.http_port for node in cluster.topology.nodes]
    assert any(f"port {stolen} was taken" in line for line in lines)
    assert states(cluster) == ["running", "running"]


class OfAnotherCluster(http.server.BaseHTTPRequestHandler):
    """A node that is ready, at a port that was to be another one's."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"node": "n2", "members": [{"name": "n2", "peer": "127.0.0.1:1"}]}')

    def log_message(self, *_: object) -> None:
        pass


def test_the_node_of_another_cluster_at_a_stolen_port_is_not_taken_for_ours(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http.server.ThreadingHTTPServer((topology.HOST, 0), OfAnotherCluster) as thief:
        serving = threading.Thread(target=thief.serve_forever)
        serving.start()
        stolen = thief.server_address[1]

        choose_once(monkeypatch, stolen)
        # Its port was free when it was looked at, and is another one's when it is listened to.
        monkeypatch.setattr(Cluster, "_wait_for_ports", lambda cluster, name: None)
        try:
            cluster = bring_up(directory, 2)
        finally:
            thief.shutdown()
            serving.join()
    assert stolen not in [node.http_port for node in cluster.topology.nodes]
    assert states(cluster) == ["running", "running"]


def test_a_port_taken_later_is_an_error_and_the_ports_stay(directory: Path) -> None:
    cluster = bring_up(directory, 1)
    cluster.down()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((topology.HOST, cluster.topology.nodes[0].http_port))
        thief.listen()
        with pytest.raises(PortTaken, match=r"port .* of n1 is in use"):
            bring_up(directory)
    assert Topology.load(directory) == cluster.topology


def test_purge_deletes_what_belongs_to_the_cluster_and_nothing_else(directory: Path) -> None:
    cluster = bring_up(directory, 2)
    (directory / "notes.txt").write_text("mine")
    lifecycle.purge(cluster)
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]
    assert states(cluster) == ["dead", "dead"]


def test_purge_of_an_otherwise_empty_directory_removes_it(directory: Path) -> None:
    lifecycle.purge(bring_up(directory, 1))
    assert not directory.exists()


def test_a_node_gets_the_settings_it_was_given_and_no_peers_from_outside(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KV_PEERS", "n9=127.0.0.1:1")
    monkeypatch.setenv("KV_UI_REPORTS_DIR", "reports")
    cluster = bring_up(directory, 1, env={"KV_LOG_LEVEL": "debug"})
    process = cluster.process("n1")
    assert process is not None
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert b"KV_LOG_LEVEL=debug" in environment
    assert not any(line.startswith(b"KV_PEERS=") for line in environment)
    assert f"KV_UI_REPORTS_DIR={Path.cwd() / 'reports'}".encode() in environment

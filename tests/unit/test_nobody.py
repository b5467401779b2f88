"""What to do where nobody listens: by what is in the cluster directory whose nodes were asked, or by what was named."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from kvcli import main
from kvcli.commands.doctor import gather
from kvcli.exit_codes import Exit
from kvcli.nobody import advice, advise
from kvcli.options import Settings
from kvcli.situation import told
from kvcluster import processes
from kvcluster.topology import FILE_NAME, Topology, free_ports
from kvstore import errors

DEFAULT = ("http://127.0.0.1:8480",)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no notes of other clusters' ports."""
    for name in ("KV_CLUSTER_DIR", "KV_ENDPOINTS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "notes"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(directory: Path, *, running: tuple[str, ...] = ()) -> Topology:
    """A cluster of three; this process stands in for its nodes that run, the others were killed."""
    directory.mkdir()
    topology = Topology.create(directory, 3)
    topology.save()
    me = processes.identify(os.getpid())
    assert me is not None
    for name in topology.names:
        topology.home(name).mkdir()
        recorded = me if name in running else me._replace(started=me.started + 1)
        topology.pid_path(name).write_text(json.dumps(recorded))
    return topology


def test_without_any_endpoint_named_it_is_how_to_start_a_cluster() -> None:
    assert advice(DEFAULT) == [
        'kv cluster up --nodes 3 --dir ./demo starts a cluster; then: eval "$(kv cluster env --dir ./demo)"',
        "A single node of your own: kv serve. Nodes elsewhere: name them with --endpoints or KV_ENDPOINTS.",
    ]
    assert advice(("https://127.0.0.1:8480",)) == advice(DEFAULT)


def test_strangers_that_were_named_may_be_single_nodes() -> None:
    (line,) = advice(("http://db.example:8480", "http://127.0.0.1:1"))
    assert line.startswith("Is a node running there? Start one with 'kv serve'")


def test_a_cluster_that_is_not_running_is_named_whoever_named_its_endpoints(place: Path) -> None:
    topology = made(place / "a b")
    assert advice(topology.endpoints) == [
        f"The cluster in {place}/a b is not running: kv cluster up --dir '{place}/a b'"
    ]
    assert advice([topology.endpoints[0].replace("127.0.0.1", "localhost")]) == advice(topology.endpoints)


def test_without_the_notes_of_ports_the_variable_tells_which_cluster_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = made(place / "c")
    monkeypatch.setattr(tempfile, "tempdir", str(place / "c"))
    assert "kv serve" in advice(topology.endpoints)[0]
    monkeypatch.setenv("KV_CLUSTER_DIR", str(place / "c"))
    assert advice(topology.endpoints)[0].startswith(f"The cluster in {place}/c is not running")


def test_notes_that_are_not_ours_are_not_believed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = made(place / "c")
    uid = os.getuid()
    (place / "notes" / f"kv-ports-{uid}").rename(place / "notes" / f"kv-ports-{uid + 1}")
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert "kv serve" in advice(topology.endpoints)[0]


def test_one_node_that_is_down_is_told_by_name(place: Path) -> None:
    topology = made(place / "c", running=("n1", "n3"))
    assert advice(topology.endpoints[1:2]) == [
        f"n2 of the cluster in {place}/c is not running: kv cluster up --dir {place}/c"
    ]
    assert advice(topology.endpoints[:1]) == [
        f"The cluster in {place}/c is running; is it still starting? kv cluster status --dir {place}/c"
    ]


def test_a_node_that_is_paused_is_to_be_resumed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = made(place / "c", running=("n1", "n2"))
    monkeypatch.setattr(processes, "state", lambda process: "paused" if process.pid == os.getpid() else "dead")
    assert advice(topology.endpoints[:2]) == [
        f"n1, n2 of the cluster in {place}/c are paused: kv cluster resume n1 n2 --dir {place}/c"
    ]


def test_a_directory_that_is_named_without_its_endpoints(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_CLUSTER_DIR", "c")
    then = 'eval "$(kv cluster env --dir c)"'
    assert advice(DEFAULT) == [f"There is no cluster in c: kv cluster up --dir c; then: {then}"]
    topology = made(place / "c")
    assert advice(DEFAULT) == [f"The cluster in c is not running: kv cluster up --dir c; then: {then}"]
    me = processes.identify(os.getpid())
    topology.pid_path("n1").write_text(json.dumps(me))
    assert advice(DEFAULT) == [f"The cluster in c is running, and has other endpoints: {then}"]


def test_the_directory_that_kv_cluster_takes_by_itself_is_looked_at(place: Path) -> None:
    made(place / "kv-cluster")
    assert advice(DEFAULT)[0].startswith("The cluster in kv-cluster is not running: kv cluster up --dir kv-cluster")


def test_variables_of_a_cluster_that_was_deleted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_CLUSTER_DIR", f"{place}/gone")
    monkeypatch.setenv("KV_ENDPOINTS", "127.0.0.1:41001,127.0.0.1:41002")
    assert advice(("http://127.0.0.1:41001", "http://127.0.0.1:41002"))[0].startswith(f"There is no cluster in {place}")
    assert advice(("http://127.0.0.1:41003",))[0].startswith("Is a node running there?")  # by --endpoints


@pytest.mark.parametrize("spoilt", [FILE_NAME, "n1/pid"])
def test_a_directory_that_cannot_be_read_is_no_failure_of_its_own(place: Path, spoilt: str) -> None:
    topology = made(place / "c")
    text = (place / "c" / FILE_NAME).read_text()
    (place / "c" / spoilt).write_text(f"[{text}")
    assert advice(topology.endpoints)[0].startswith("Is a node running there?")


def test_it_goes_with_that_failure_alone() -> None:
    nobody, refused = errors.CannotConnect("x"), errors.NotFound("x")
    for error in (nobody, refused):
        advise(error, DEFAULT)
    assert told(nobody) == advice(DEFAULT)
    assert told(refused) == []


async def test_kv_doctor_gives_it_for_each_endpoint_that_does_not_answer(place: Path) -> None:
    topology = made(place / "c", running=("n1",))
    evidence = await gather(Settings(tuple(topology.endpoints[1:]), None, 1.0))
    assert evidence.todos == {
        topology.endpoints[1]: f"n2 of the cluster in {place}/c is not running: kv cluster up --dir {place}/c",
        topology.endpoints[2]: f"n3 of the cluster in {place}/c is not running: kv cluster up --dir {place}/c",
    }


@pytest.mark.parametrize("line", ["get a", "bench put --clients 1", "bench watch --watches 1", "status"])
def test_every_command_says_it_once(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    assert main.run([*line.split(), "--endpoints", f"http://127.0.0.1:{port}"]) == Exit.CANNOT_CONNECT
    _, *lines = capsys.readouterr().err.splitlines()
    assert [each.strip() for each in lines] == advice((f"http://127.0.0.1:{port}",))

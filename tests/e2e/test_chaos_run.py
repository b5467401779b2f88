"""Whole runs of the harness: it passes what is right, accuses what is wrong, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen import capabilities
from kvjepsen.formats import read_history
from kvjepsen.nemesis import parts
from kvjepsen.plan import Plan, read_scenario
from kvjepsen.runners.live import HISTORY, RESULTS, run


def test_a_run_with_every_workload_passes_and_tells_of_everything(tmp_path: Path) -> None:
    """The sample of every run of the tests: six workloads, a power loss, two faults at once, a partition; every other
    client of registers and counters speaks Redis."""
    faults = ("power", "kill-leader+delay", "isolate-leader")
    plan = Plan(nodes=3, faults=faults, seconds=12, seed=5, held_disks=True, doors=("http", "redis"))
    told = run(plan, tmp_path / "out", say=print)
    document = json.loads((told.directory / RESULTS).read_text())
    assert (told.verdict, document["problem"], document["vacuous"]) == ("passed", None, [])
    assert "power" in {injury["fault"] for injury in document["faults"]}
    assert all(injury["effects"] for injury in document["faults"])
    assert set(document["operations"]["by_workload"]) == set(plan.workloads)
    assert {check["check"] for check in document["checks"]} == {
        "linearizable",
        "at one",
        "set",
        "append",
        "counter",
        "levels",
        "staleness",
        "durability",
        "replicas",
        "sessions",
        "agreement",
    }
    assert document["checks"][0]["counts"]["undecided"] == 0
    history = read_history(told.directory / HISTORY, "jsonl")
    assert any(op.f == "increment" and isinstance(op.shown, dict) for op in history.operations)
    # In the end registers are read through both doors; only HTTP tells revisions.
    finals = [op for op in history.final_reads() if (op.key or "").startswith("register/") and op.shown is not None]
    assert {op.revision is None for op in finals} == {True, False}
    assert {fault.f for fault in history.faults} >= {injury["fault"] for injury in document["faults"]}
    assert history.final_reads()
    assert not (told.directory / "cluster").exists()


def test_transactions_watches_locks_and_leases_keep_their_promises(tmp_path: Path) -> None:
    """The sample of every run of the tests; the scenarios have each of them under more faults."""
    plan = Plan(nodes=3, workloads=("bank", "watch", "lock", "lease"), faults=("kill-leader",), seconds=3, seed=3)
    seen: list[tuple[str, float, float]] = []
    told = run(
        plan,
        tmp_path / "out",
        say=print,
        watch=lambda status: seen.append((status.phase, status.elapsed_s, status.load_s)),
    )
    assert (told.verdict, told.document["vacuous"], told.document["problem"]) == ("passed", [], None)
    assert {phase for phase, _, _ in seen} >= {"before", "faults", "after"}
    assert all(load_s >= 3 for _, _, load_s in seen)
    assert all(elapsed_s < load_s for phase, elapsed_s, load_s in seen if phase in ("before", "faults"))
    counts = {check["check"]: check["counts"] for check in told.document["checks"] if check["verdict"] == "valid"}
    done = {
        "bank": ("acknowledged", "reads_in_pages", "reads_of_the_past"),
        "watch": ("changes", "events"),
        "lock": ("acknowledged",),
        "lease": ("keepalives", "judged"),
    }
    assert all(counts[check][what] for check, names in done.items() for what in names)
    assert counts["watch"]["watchers"] == 4


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["transactions", "watchers", "locks", "leases"])
def test_transactions_watches_locks_and_leases_under_many_faults(scenario: str, tmp_path: Path) -> None:
    told = run(read_scenario(scenario, {}), tmp_path / "out", say=print)
    assert (told.verdict, told.document["vacuous"], told.document["problem"]) == ("passed", [], None)


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["redis-door", "redis-power", "both-doors"])
def test_the_redis_door_keeps_its_promises_under_many_faults(scenario: str, tmp_path: Path) -> None:
    told = run(read_scenario(scenario, {}), tmp_path / "out", say=print)
    assert (told.verdict, told.document["vacuous"], told.document["problem"]) == ("passed", [], None)


@pytest.mark.long
def test_a_power_loss_of_all_nodes_loses_nothing(tmp_path: Path) -> None:
    mounts = capabilities.no_mounts()
    if mounts:
        pytest.skip(f"no image can be mounted here: {mounts}")
    plan = Plan(nodes=3, workloads=("register", "levels"), faults=("power",), seconds=12, seed=2)
    told = run(plan, tmp_path / "out", say=print)
    assert (told.verdict, told.document["vacuous"], told.document["problem"]) == ("passed", [], None)
    assert "3 nodes started on what had been synced" in told.document["faults"][0]["effects"]


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["members", "damaged-disks", "two-at-once", "power-loss-held"])
def test_what_is_done_to_members_disks_and_two_things_at_once_breaks_no_promise(scenario: str, tmp_path: Path) -> None:
    plan = read_scenario(scenario, {})
    told = run(plan, tmp_path / "out", say=print)
    assert (told.verdict, told.document["vacuous"], told.document["problem"]) == ("passed", [], None)
    assert told.document["skipped"] == []
    wanted = {part for name in plan.faults for part in parts(name)}
    assert wanted & {injury["fault"] for injury in told.document["faults"]}


def test_a_cluster_of_others_is_put_under_load_and_left_alone(kv_cluster: ClusterFactory, tmp_path: Path) -> None:
    cluster = kv_cluster(3)
    before = [cluster.process(name) for name in cluster.topology.names]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "kvcli", "chaos", "run", "--endpoints", ",".join(cluster.topology.endpoints)),
            *(
                "--nemesis",
                "kill,transfer",
                "--workload",
                "register,set",
                "--time",
                "3",
                "--out",
                str(tmp_path / "out"),
            ),
        ],
        capture_output=True,
        text=True,
    )
    for fault in ("kill", "transfer"):
        assert f"skipped: {fault}, because the cluster was not started by this run" in ended.stderr
    # Without a fault it shows nothing: that is said, and not taken for a pass.
    assert (ended.returncode, "no fault was injected" in ended.stderr) == (5, True), ended.stderr
    assert [cluster.process(name) for name in cluster.topology.names] == before
    assert "keys that begin with register/, set/ are written to it" in ended.stderr
    assert " of 3 s  " in ended.stderr
    document = json.loads((tmp_path / "out" / RESULTS).read_text())
    assert (document["title"], document["scenario"]) == ("3 nodes, 2 workloads, no faults", None)
    assert document["command"].endswith(f" --endpoints {','.join(cluster.topology.endpoints)}")

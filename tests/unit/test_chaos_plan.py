"""Plans of runs, and the scenarios that come with the harness."""

import shlex
import sys
from pathlib import Path

import click
import pytest

from kvcli import main
from kvcli.commands.chaos_run import StatusLine, _hunted, _plan, run_chaos
from kvcli.pages import COLUMNS
from kvjepsen.capabilities import probe
from kvjepsen.mutants import MUTANTS
from kvjepsen.nemesis import FAULTS, parts
from kvjepsen.plan import DEFAULT_WORKLOADS, BadPlan, Plan, read_scenario, scenario_names
from kvjepsen.runners.live import Status, _possible, run
from kvjepsen.server_mutants import MUTANTS as SERVER_MUTANTS
from kvjepsen.suite import plans
from kvjepsen.workloads import WORKLOADS


def test_there_are_twenty_scenarios_and_each_makes_sense() -> None:
    names = scenario_names()
    assert len(names) >= 20
    read = [read_scenario(name, {}) for name in names]
    assert len({plan.seed for plan in read}) == len(read)
    assert len({plan.title for plan in read}) == len(read)


def test_together_the_scenarios_use_every_fault_and_every_workload() -> None:
    read = [read_scenario(name, {}) for name in scenario_names() if name != "everything"]
    assert {part for plan in read for fault in plan.faults for part in parts(fault)} == set(FAULTS)
    assert {workload for plan in read for workload in plan.workloads} == set(WORKLOADS)
    assert {plan.nodes for plan in read} == {3, 4, 5}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"workloads": ("registre",)}, "there is no workload 'registre'"),
        ({"faults": ("kil",)}, "there is no fault 'kil'"),
        ({"faults": ("kill", "kill")}, "named twice"),
        ({"faults": ("kill+isolatte",)}, "there is no fault 'isolatte'"),
        ({"faults": ("isolate+kill",)}, "two at once are one of kill"),
        ({"workloads": ()}, "at least one workload"),
        ({"doors": ()}, "at least one door"),
        ({"doors": ("grpc",)}, "there is no door 'grpc'"),
        ({"doors": ("http", "http")}, "named twice"),
        ({"doors": ("redis",)}, "set, append, levels, mixed: not through the door redis; register, counter can"),
        ({"nodes": 0}, "0 nodes"),
        ({"seconds": 0.5}, "0.5 s"),
        ({"rate_hz": 0.0}, "0 operations a second"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict, said: str) -> None:
    with pytest.raises(BadPlan, match=said):
        Plan(**values).checked()


@pytest.mark.parametrize(
    ("text", "said"),
    [("nodes = 'three'", "nodes"), ("nodse = 3", "nodse"), ("nodes = [", "cannot be read")],
)
def test_a_scenario_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(BadPlan, match=said):
        read_scenario(str(path), {})


def test_a_scenario_of_one_s_own_can_be_replaced_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\nnodes = 3\nfaults = ["kill"]\n')
    plan = read_scenario(str(path), {"nodes": 4, "seed": 9})
    assert (plan.title, plan.nodes, plan.faults, plan.seed) == ("Mine", 4, ("kill",), 9)


def test_an_unknown_scenario_names_those_that_there_are() -> None:
    with pytest.raises(BadPlan, match="leader-dies"):
        read_scenario("no-such", {})
    with pytest.raises(BadPlan, match=r"there is no file 'no-such.toml'$"):
        read_scenario("no-such.toml", {})


@pytest.mark.parametrize("command", [("run", "--scenario"), ("suite",)])
def test_a_slip_in_a_scenario_s_name_is_told_the_nearest_and_how_to_list_them(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["chaos", *command, "leeder-dies"]) == 2
    said = capsys.readouterr().err
    assert "no scenario 'leeder-dies'. Did you mean 'leader-dies'? 'kv chaos run --scenario help' lists them" in said
    assert "split" not in said
    assert not list(tmp_path.iterdir())


def test_a_plan_knows_the_scenario_that_was_named_and_none_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("nodes = 3\n")
    assert read_scenario("split", {}).scenario == "split"
    assert read_scenario(str(path), {}).scenario == "mine"
    assert Plan().scenario == ""


@pytest.mark.parametrize(
    ("faults", "name"),
    [
        ((), "3 nodes, 1 workload, no faults"),
        (("kill",), "3 nodes, 1 workload, 1 kind of faults"),
        (("kill", "delay"), "3 nodes, 1 workload, 2 kinds of faults"),
    ],
)
def test_a_plan_without_a_title_is_named_by_what_is_done(faults: tuple[str, ...], name: str) -> None:
    assert Plan(nodes=3, workloads=("set",), faults=faults).name == name


def test_every_scenario_is_listed_on_a_line_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["chaos", "run", "--scenario", "help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines[0].index("what happens")
    assert [line[:at].strip() for line in lines[1:]] == scenario_names()
    assert [line[at:] for line in lines[1:]] == [read_scenario(name, {}).title for name in scenario_names()]
    assert all(line[at - 2 : at] == "  " for line in lines)
    assert max(map(len, lines)) <= COLUMNS


def test_the_command_of_a_plan_makes_the_same_plan() -> None:
    plan = Plan(nodes=3, workloads=("set",), faults=(), seconds=7.5, seed=4, rate_hz=50.0)
    words = plan.command().split()
    assert words[:3] == ["kv", "chaos", "run"]
    with click.Context(run_chaos, info_name="run") as above:
        given = run_chaos.make_context("run", words[3:], parent=above).params
    assert (given["nodes"], given["workloads"], given["faults"], given["seconds"], given["seed"], given["rate_hz"]) == (
        3,
        "set",
        "none",
        7.5,
        4,
        50.0,
    )


def test_the_command_of_a_plan_names_its_doors() -> None:
    plan = Plan(workloads=("set", "register"), doors=("http", "redis"))
    with click.Context(run_chaos, info_name="run") as above:
        given = run_chaos.make_context("run", plan.command().split()[3:], parent=above).params
    assert given["doors"] == "http,redis"
    assert "--door" not in Plan().command()


def test_the_command_of_a_plan_names_the_endpoints_of_a_cluster_of_others() -> None:
    endpoints = ("http://[::1]:1", "http://b:2")
    words = shlex.split(Plan().command(endpoints))
    assert words[-2:] == ["--endpoints", "http://[::1]:1,http://b:2"]
    assert "--endpoints" not in Plan().command()


@pytest.mark.parametrize(
    ("options", "workloads", "doors"),
    [
        ({}, DEFAULT_WORKLOADS, ("http",)),
        ({"doors": "redis"}, ("register", "counter"), ("redis",)),
        ({"doors": "http,redis"}, DEFAULT_WORKLOADS, ("http", "redis")),
        ({"doors": "redis", "workloads": "counter"}, ("counter",), ("redis",)),
        ({"mutant": "watch-ignored"}, ("register",), ("redis",)),
    ],
)
def test_where_no_workload_is_named_those_run_that_know_the_door(
    options: dict, workloads: tuple[str, ...], doors: tuple[str, ...]
) -> None:
    mutant = options.pop("mutant", None)
    names = ("workloads", "faults", "doors", "nodes")
    plan = _plan(None, _hunted(mutant, {name: options.get(name) for name in names}))
    assert (plan.workloads, plan.doors) == (workloads, doors)


def test_some_scenarios_use_the_redis_door_alone_and_some_both() -> None:
    doors = {read_scenario(name, {}).doors for name in scenario_names()}
    assert doors == {("http",), ("redis",), ("http", "redis")}


@pytest.mark.parametrize(
    ("given", "said"),
    [({"endpoints": ("http://127.0.0.1:1",)}, "the run starts itself"), ({"mutant": "stock"}, "no Redis door")],
)
def test_what_has_no_redis_door_is_not_asked_through_it(given: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match=said):
        run(Plan(workloads=("register",), doors=("redis",)), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_nothing_is_injected_into_a_cluster_of_others_and_nothing_is_passed_over_in_silence() -> None:
    possible, skipped = _possible(Plan(workloads=("register",), faults=tuple(FAULTS)), probe(None), 5)
    assert possible == []
    assert {name for name, _ in skipped} == set(FAULTS)
    assert all("the cluster was not started by this run" in why for _, why in skipped)


def test_every_round_of_a_suite_has_other_seeds_and_folders() -> None:
    wanted = list(plans(["leader-dies", "split"], 3, {"seconds": 5.0}))
    assert [name for name, _ in wanted][:2] == ["leader-dies-1", "split-7"]
    assert len({name for name, _ in wanted}) == len({plan.seed for _, plan in wanted}) == 6
    assert {plan.seconds for _, plan in wanted} == {5.0}


LISTED = {
    ("run", "--workload"): tuple(WORKLOADS),
    ("run", "--nemesis"): tuple(FAULTS),
    ("run", "--scenario"): tuple(scenario_names()),
    ("run", "--mutant"): tuple(SERVER_MUTANTS),
    ("simulate", "--mutant"): tuple(MUTANTS),
}


@pytest.mark.parametrize(("command", "option"), LISTED)
def test_help_lists_what_there_is_and_fits_the_terminal(
    command: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main.run(["chaos", command, option, "help"]) == 0
    piped = capsys.readouterr().out.splitlines()
    assert tuple(line.split()[0] for line in piped[1:]) == LISTED[command, option]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main.run(["chaos", command, option, "help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    # The same words, of which those of a name stand below each other.
    assert " ".join(shown).split() == " ".join(piped).split()
    behind = piped[0].index("wha")
    assert tuple(line[:behind].strip() for line in shown[1:] if line[0] != " ") == LISTED[command, option]


def test_a_folder_that_holds_something_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").write_text("kept")
    assert main.run(["chaos", "run", "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("phase", "elapsed_s", "said"),
    [
        ("before", 0.1, "before   0 of 60 s  "),
        ("faults", 12.3, "faults  12 of 60 s  "),
        ("after", 61.2, "after   60 of 60 s  "),
        ("final", 63.0, "final         63 s  "),
    ],
)
def test_progress_says_of_how_much(phase: str, elapsed_s: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    StatusLine().show(Status(phase=phase, elapsed_s=elapsed_s, load_s=60.0))
    assert capsys.readouterr().err.startswith(f"kv: {said}0 ok")

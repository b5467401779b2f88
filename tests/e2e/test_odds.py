"""`kv chaos odds` on real clusters: subsets of nodes, lives of nodes, and the stores that it has to find wrong."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kvcli.main import cli
from kvjepsen.odds.clusters import live_benches
from kvjepsen.odds.mutants import PROGRAM, variables
from kvjepsen.odds.observation import Results
from kvjepsen.odds.plan import LEVELS, Trial, exhaustive
from kvjepsen.odds.running import run

MARK = "KVJEPSEN_ODDS_TEST"

# Two nodes: one down is a draw, for QUORUM as for the mutant, and leaves one alive that has no leader.
DRAWS = [Trial(2, ("n1",), leader_failed=True), Trial(2, ("n2",), leader_failed=False)]


def nodes_of_ours() -> list[str]:
    """The command lines of the processes that descend from clusters of this test process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={os.getpid()}".encode() in path.read_bytes().split(b"\0"):
                found.append((path.parent / "cmdline").read_text())
    return found


def odds(*arguments: str) -> Result:
    """`kv chaos odds` in this process."""
    return CliRunner().invoke(cli, ["chaos", "odds", *arguments], standalone_mode=False)


def test_every_subset_of_two_though_the_budget_of_the_first_run_ends_too_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not reached is listed, no process is left, and the next run makes the rest of it, and nothing again."""
    monkeypatch.setenv(MARK, str(os.getpid()))
    arguments = ["--nodes", "2", "--fault", "isolate", "--out", str(tmp_path)]
    first = odds(*arguments, "--budget", "4", "--jobs", "1")
    assert (first.exception, first.return_value) == (None, 5)
    assert "not reached, not counted: n2/" in first.stderr
    assert nodes_of_ours() == []
    before = (tmp_path / "trials.jsonl").read_text().splitlines()
    confirmed(odds(*arguments, "--budget", "300", "-o", "json"), tmp_path, "2")
    after = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    assert "--budget 4" not in json.loads((tmp_path / "odds.json").read_text())["command"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("nodes", "fault"),
    [("1,2", "kill"), *((nodes, fault) for fault in ("kill", "pause", "isolate") for nodes in "34"), ("5", "kill")],
)
def test_every_subset_shows_what_the_number_of_nodes_says(nodes: str, fault: str, tmp_path: Path) -> None:
    """And a second run finds everything done."""
    arguments = ["--nodes", nodes, "--fault", fault, "--out", str(tmp_path)]
    confirmed(odds(*arguments, "--budget", "600", "-o", "json"), tmp_path, nodes)
    again = odds(*arguments, "--budget", "1")
    assert (again.exception, again.return_value) == (None, 0)
    assert "confirmed" in again.stderr


def confirmed(done: Result, folder: Path, nodes: str) -> None:
    """The run says so, to its reader and to its folder, and each subset was made once."""
    assert (done.exception, done.return_value) == (None, 0), done.stderr
    found = json.loads((folder / "odds.json").read_text())
    assert json.loads(done.stdout) == found
    assert (found["verdict"], found["unreached"]) == ("confirmed", [])
    assert all(each["predicted"] == each["observed"] for each in found["subsets"])
    assert len(found["subsets"]) == sum(3 * 2 * (2 ** int(n) - 1) for n in nodes.split(","))
    ids = [line["id"] for line in map(json.loads, (folder / "trials.jsonl").read_text().splitlines()) if "id" in line]
    assert len(set(ids)) == len(ids) == len(found["subsets"]) / 3


@pytest.mark.long
@pytest.mark.parametrize("budget_s", [4, 7, 9])
def test_a_run_that_is_cut_off_leaves_no_process(budget_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the budget ends: in a trial, while nodes are being started again."""
    monkeypatch.setenv(MARK, str(os.getpid()))
    done = odds("--nodes", "3", "--exhaustive", "--budget", str(budget_s), "-o", "json")
    assert (done.exception, done.return_value) == (None, 5)
    assert json.loads(done.stdout)["unreached"]
    assert nodes_of_ours() == []


@pytest.mark.long
def test_nodes_that_fail_and_come_back_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, str(os.getpid()))
    done = odds(
        "--nodes", "3", "--over-time", "60", "--mttf", "20", "--mttr", "10", "--out", str(tmp_path), "-o", "json"
    )
    assert (done.exception, done.return_value) == (None, 0), done.stderr
    (found,) = json.loads((tmp_path / "odds.json").read_text())["over_time"]
    assert (found["verdict"], found["wrong"]) == ("confirmed", [])
    assert found["failures"] > 0
    assert all(each["up"] > 0 and each["served_while_down"] == 0 for each in found["levels"].values())
    assert found["levels"]["all"]["down"] > 0
    assert nodes_of_ours() == []


@pytest.mark.parametrize(
    ("mutant", "level", "trials"),
    [
        ("half-quorum", "quorum", DRAWS[:1]),
        pytest.param("half-quorum", "quorum", DRAWS, marks=pytest.mark.long),
        pytest.param("one-by-leader", "one", DRAWS, marks=pytest.mark.long),
    ],
)
async def test_a_store_that_is_wrong_about_a_level_is_found(mutant: str, level: str, trials: list[Trial]) -> None:
    results = Results(None, seed=1, fault="kill", simulated=False)
    benches = live_benches("kill", print, PROGRAM, variables(mutant))
    await run(trials, results, benches, jobs=1, budget_s=120)
    assert results.problems == []
    assert len(results.observations) == len(trials)
    for observation in results.observations:
        assert [each for each in LEVELS if observation.mismatch(each)] == [level]
    if mutant == "half-quorum":
        assert all("is gone" in line for each in results.observations for line in each.wrong)


@pytest.mark.long
@pytest.mark.parametrize(("mutant", "level"), [("half-quorum", "quorum"), ("one-by-leader", "one")])
async def test_among_all_subsets_of_four_only_that_level_is_wrong(mutant: str, level: str) -> None:
    results = Results(None, seed=1, fault="kill", simulated=False)
    await run(exhaustive(4), results, live_benches("kill", print, PROGRAM, variables(mutant)), jobs=2, budget_s=600)
    assert len(results.observations) == len(exhaustive(4))
    assert {each for one in results.observations for each in LEVELS if one.mismatch(each)} == {level}

"""`kv chaos odds` on real clusters: every subset of three nodes, and the stores that it has to find wrong."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

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


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ("3", "isolate"),
        ("1,2", "kill"),
        *(pytest.param(nodes, fault, marks=pytest.mark.long) for fault in ("kill", "pause") for nodes in "34"),
        pytest.param("4", "isolate", marks=pytest.mark.long),
        pytest.param("5", "kill", marks=pytest.mark.long),
    ],
)
def test_every_subset_shows_what_the_number_of_nodes_says(nodes: str, fault: str, tmp_path: Path) -> None:
    """And a second run finds everything done."""
    arguments = ["chaos", "odds", "--nodes", nodes, "--fault", fault, "--budget", "600", "--out", str(tmp_path)]
    first = CliRunner().invoke(cli, [*arguments, "-o", "json"], standalone_mode=False)
    assert (first.exception, first.return_value) == (None, 0)
    found = json.loads((tmp_path / "odds.json").read_text())
    assert json.loads(first.stdout) == found
    assert (found["verdict"], found["unreached"]) == ("confirmed", [])
    assert all(each["predicted"] == each["observed"] for each in found["subsets"])
    assert len(found["subsets"]) == sum(3 * 2 * (2 ** int(n) - 1) for n in nodes.split(","))
    again = CliRunner().invoke(cli, [*arguments, "--budget", "1"], standalone_mode=False)
    assert (again.exception, again.return_value) == (None, 0)
    assert "confirmed" in again.stderr


@pytest.mark.parametrize(
    "budget_s", [4, pytest.param(7, marks=pytest.mark.long), pytest.param(9, marks=pytest.mark.long)]
)
def test_a_run_that_is_cut_off_leaves_no_process(budget_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the budget ends: in a trial, while nodes are being started again."""
    monkeypatch.setenv(MARK, str(os.getpid()))
    arguments = ["chaos", "odds", "--nodes", "3", "--exhaustive", "--budget", str(budget_s), "-o", "json"]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert (done.exception, done.return_value) == (None, 5)
    assert json.loads(done.stdout)["unreached"]
    assert nodes_of_ours() == []


def test_what_the_budget_does_not_reach_is_listed_and_done_by_the_next_run(tmp_path: Path) -> None:
    arguments = ["chaos", "odds", "--nodes", "1", "--p", "0.5", "--trials", "30", "--out", str(tmp_path)]
    first = CliRunner().invoke(cli, [*arguments, "--budget", "6", "--jobs", "1"], standalone_mode=False)
    assert (first.exception, first.return_value) == (None, 5)
    assert "not reached, not counted: n1/p0.5/" in first.stderr
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    CliRunner().invoke(cli, [*arguments, "--budget", "6", "--jobs", "1"], standalone_mode=False)
    more = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert 1 < len(lines) < len(more) <= 31
    assert more[: len(lines)] == lines
    assert len({json.loads(line)["id"] for line in more[1:]}) == len(more) - 1


@pytest.mark.parametrize(("mutant", "level"), [("half-quorum", "quorum"), ("one-by-leader", "one")])
async def test_a_store_that_is_wrong_about_a_level_is_found(mutant: str, level: str) -> None:
    results = Results(None, seed=1, fault="kill", simulated=False)
    benches = live_benches("kill", print, PROGRAM, variables(mutant))
    await run(DRAWS, results, benches, jobs=1, budget_s=120)
    assert results.problems == []
    assert len(results.observations) == len(DRAWS)
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

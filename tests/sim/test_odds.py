"""The odds on simulated clusters: each subset shows what its number of nodes says; stores that are wrong are found."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kvcli.main import cli
from kvjepsen.odds.lifetimes import Lives
from kvjepsen.odds.mutants import MUTANTS
from kvjepsen.odds.observation import Observation
from kvjepsen.odds.overtime import judged
from kvjepsen.odds.plan import FAULTS, Fault, Trial, exhaustive, plan
from kvjepsen.odds.simulated import simulate, simulate_all, simulate_over_time
from kvjepsen.odds.verdict import judge


def made(trials: list[Trial], fault: Fault) -> list[Observation]:
    found = list(simulate_all(trials, fault, seed=1))
    assert [each for each in found if isinstance(each, str)] == []
    return [each for each in found if not isinstance(each, str)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("n", [1, 2, 3, *(pytest.param(n, marks=pytest.mark.long) for n in (4, 5))])
def test_every_subset_shows_what_the_number_of_nodes_says(n: int, fault: Fault) -> None:
    found = judge(made(exhaustive(n), fault), [0.1, 0.3], unreached=[], problems=[])
    assert [note for note in found.notes if "MISMATCH" in note] == []
    assert found.verdict == "confirmed"
    assert len(found.subsets) == 3 * 2 * (2**n - 1)


@pytest.mark.parametrize("trials", [10, pytest.param(400, marks=pytest.mark.long)])
def test_drawn_trials_confirm_the_exact_formula_and_for_even_n_reject_the_documented_one(trials: int) -> None:
    found = judge(made(plan([4], [0.5], trials, seed=7, every=False), "kill"), [0.5], unreached=[], problems=[])
    quorum = next(cell for cell in found.cells if cell["level"] == "quorum")
    assert found.verdict == "confirmed"
    assert quorum["trials"] == trials
    if trials >= 400:
        assert quorum["p_value_documented"] < 0.001 < quorum["p_value_exact"]


def test_the_command_line_goes_on_and_names_what_makes_all_of_it(tmp_path: Path) -> None:
    def odds(*more: str) -> dict[str, Any]:
        arguments = ["chaos", "odds", "--simulate", "--nodes", "1,2", "--jobs", "1", "--out", str(tmp_path), *more]
        done = CliRunner().invoke(cli, [*arguments, "-o", "json"], standalone_mode=False)
        assert (done.exception, done.return_value) == (None, 0), done.stderr
        assert json.loads(done.stdout) == json.loads((tmp_path / "odds.json").read_text())
        return dict(json.loads(done.stdout))

    odds("--trials", "2", "--p", "0.1,0.5")
    kept = (tmp_path / "trials.jsonl").read_text()
    found = odds("--trials", "3", "--p", "0.1,0.5", "--budget", "9", "--over-time", "60", "--mttf", "5", "--mttr", "5")
    assert (tmp_path / "trials.jsonl").read_text().startswith(kept)
    assert found["trials"] == 12
    assert [(each["n"], each["seconds"], each["wrong"]) for each in found["over_time"]] == [(1, 60, []), (2, 60, [])]
    assert found["command"] == (
        "kv chaos odds --nodes 1,2 --p 0.1,0.5 --trials 3 --jobs 1 --over-time 60 --mttf 5 --mttr 5 --simulate "
        f"--out {tmp_path}"
    )
    assert {"odds.html", "odds.svg"} <= {path.name for path in tmp_path.iterdir()}
    again = odds("--trials", "3", "--p", "0.1,0.5", "--over-time", "60", "--mttf", "5", "--mttr", "5")
    assert {**again, "seconds": 0, "command": ""} == {**found, "seconds": 0, "command": ""}


def test_a_trial_is_the_same_each_time() -> None:
    trial = Trial(3, ("n1", "n2"), leader_failed=True)
    assert simulate(trial, "isolate", 5) == simulate(trial, "isolate", 5)


def test_nodes_that_fail_and_come_back_by_themselves_leave_what_the_formulas_say() -> None:
    """And failover costs time, which is told apart."""
    lived = simulate_over_time(Lives(3, 20.0, 10.0, 300.0, 2))
    assert not isinstance(lived, str), lived
    found = judged(lived)
    assert (found["wrong"], found["verdict"]) == ([], "confirmed")
    assert found["failures"] > 10
    for told in found["levels"].values():
        assert told["probes"] == 300
        assert told["not_served"] == pytest.approx(told["structural"]["unavailability"], abs=0.05)
    assert found["levels"]["quorum"]["down"] > 20
    assert found["levels"]["quorum"]["failover_loss"] > 0


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS)
def test_over_time_too_a_store_that_is_wrong_about_a_level_is_refuted(mutant: str) -> None:
    with MUTANTS[mutant]():
        lived = simulate_over_time(Lives(4, 20.0, 20.0, 600.0, 3))
    assert not isinstance(lived, str), lived
    assert judged(lived)["verdict"] == "refuted"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize(("mutant", "level"), [("half-quorum", "quorum"), ("one-by-leader", "one")])
def test_a_store_that_is_wrong_about_a_level_is_refuted(mutant: str, level: str, n: int, fault: Fault) -> None:
    with MUTANTS[mutant]():
        observations = made(exhaustive(n), fault)
    assert {each for one in observations for each in ("one", "quorum", "all") if one.mismatch(each)} == {level}
    assert judge(observations, [0.1], unreached=[], problems=[]).verdict == "refuted"

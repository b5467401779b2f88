"""The odds on simulated clusters: each subset shows what its number of nodes says; stores that are wrong are found."""

import pytest

from kvjepsen.odds.mutants import MUTANTS
from kvjepsen.odds.observation import Observation
from kvjepsen.odds.plan import FAULTS, Fault, Trial, exhaustive, plan
from kvjepsen.odds.simulated import simulate, simulate_all
from kvjepsen.odds.verdict import judge


def made(trials: list[Trial], fault: Fault) -> list[Observation]:
    found = list(simulate_all(trials, fault, seed=1))
    assert [each for each in found if isinstance(each, str)] == []
    return [each for each in found if not isinstance(each, str)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, pytest.param(5, marks=pytest.mark.long)])
def test_every_subset_shows_what_the_number_of_nodes_says(n: int, fault: Fault) -> None:
    judged = judge(made(exhaustive(n), fault), [0.1, 0.3], unreached=[], problems=[])
    assert [note for note in judged.notes if "MISMATCH" in note] == []
    assert judged.verdict == "confirmed"
    assert len(judged.subsets) == 3 * 2 * (2**n - 1)


@pytest.mark.parametrize("trials", [10, pytest.param(400, marks=pytest.mark.long)])
def test_drawn_trials_confirm_the_exact_formula_and_for_even_n_reject_the_documented_one(trials: int) -> None:
    judged = judge(made(plan([4], [0.5], trials, seed=7, every=False), "kill"), [0.5], unreached=[], problems=[])
    quorum = next(cell for cell in judged.cells if cell["level"] == "quorum")
    assert judged.verdict == "confirmed"
    assert quorum["trials"] == trials
    if trials >= 400:
        assert quorum["p_value_documented"] < 0.001 < quorum["p_value_exact"]


def test_a_trial_is_the_same_each_time() -> None:
    trial = Trial(3, ("n1", "n2"), leader_failed=True)
    assert simulate(trial, "isolate", 5) == simulate(trial, "isolate", 5)


@pytest.mark.parametrize("fault", ["kill", *(pytest.param(each, marks=pytest.mark.long) for each in FAULTS[1:])])
@pytest.mark.parametrize(("mutant", "level"), [("half-quorum", "quorum"), ("one-by-leader", "one")])
def test_a_store_that_is_wrong_about_a_level_is_refuted(mutant: str, level: str, fault: Fault) -> None:
    with MUTANTS[mutant]():
        observations = made(exhaustive(4), fault)
    assert {each for one in observations for each in ("one", "quorum", "all") if one.mismatch(each)} == {level}
    assert judge(observations, [0.1], unreached=[], problems=[]).verdict == "refuted"

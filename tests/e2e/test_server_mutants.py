"""Servers with a bug built in: a run of the harness accuses each. Two in every run of the tests, all in long ones."""

from pathlib import Path

import pytest

from kvjepsen import figure8
from kvjepsen.plan import Plan
from kvjepsen.runners.live import run
from kvjepsen.server_mutants import DIRECTED, MUTANTS

SEEDS = (101, 102, 103)


def hunted(mutant: str, seed: int, seconds: float, out: Path, *, held_disks: bool = False) -> str:
    """The verdict of one run against nodes with the bug."""
    hunt = MUTANTS[mutant][1]
    plan = Plan(
        nodes=hunt.nodes,
        workloads=hunt.workloads,
        faults=hunt.faults,
        seconds=seconds,
        seed=seed,
        expected="failed",
        doors=hunt.doors,
        held_disks=held_disks,
    )
    return run(plan, out, mutant=mutant, say=print).verdict


@pytest.mark.parametrize("mutant", ["condition-ignored", "watch-ignored"])
def test_a_compare_and_set_that_does_not_compare_is_found_by_each_door(mutant: str, tmp_path: Path) -> None:
    assert hunted(mutant, SEEDS[0], 3, tmp_path / "out") == "failed"


@pytest.mark.long
@pytest.mark.parametrize("mutant", [name for name in MUTANTS if name not in DIRECTED])
def test_every_server_with_a_bug_is_found_within_three_runs(mutant: str, tmp_path: Path) -> None:
    assert "failed" in (hunted(mutant, seed, 15, tmp_path / f"{seed}") for seed in SEEDS)


@pytest.mark.long
@pytest.mark.parametrize("mutant", ["no-fsync", "seldom-fsync"])
def test_an_fsync_that_is_skipped_is_found_without_root(mutant: str, tmp_path: Path) -> None:
    assert "failed" in (hunted(mutant, seed, 15, tmp_path / f"{seed}", held_disks=True) for seed in SEEDS)


@pytest.mark.long
@pytest.mark.parametrize(("mutant", "verdict"), [(None, "passed"), ("older-term-commit", "failed")])
async def test_an_entry_of_an_older_term_is_not_committed_by_counting(
    mutant: str | None, verdict: str, tmp_path: Path
) -> None:
    cluster = figure8.start(tmp_path / "cluster", mutant)
    try:
        outcome = await figure8.figure8(cluster, times=1 if mutant else 3, progress=print)
    finally:
        cluster.down()
    assert (outcome.verdict, outcome.problem) == (verdict, None)
    assert outcome.shown == (1 if mutant else 0)

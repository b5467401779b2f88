"""Sixteen bugs, each switched on alone in a small store: the right checker catches it. Without a bug, none accuses.

The seeds are the same for all and were chosen for none. A bug does harm only in some runs (two leaders need a
partition, Figure 8 needs its five steps), so each is given several; `long` measures in how many it is caught.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from kvjepsen import checker
from kvjepsen.checking import (
    agreement,
    appends,
    counter,
    durability,
    levels,
    replicas,
    revisions,
    sessions,
    set_full,
    staleness,
)
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import History
from tests.support.small_runs import COUNTER, LIST, REGISTERS, SET, run
from tests.support.small_state import BUGS

SEEDS = range(7_000, 7_040)
MANY_SEEDS = range(20_000, 20_100)


def _of(*keys: str) -> Callable[[History], History]:
    return lambda history: history.select(lambda op: op.key in keys)


# Each checker by its name, with the part of the history that it is made for.
CHECKS: dict[str, Callable[[History], Any]] = {
    "linearizability": lambda history: checker.check(_of(*REGISTERS)(history)),
    "revisions": lambda history: revisions.check(_of(*REGISTERS)(history)),
    "durability": lambda history: durability.check(_of(*REGISTERS)(history)),
    "sessions": lambda history: sessions.check(_of(*REGISTERS)(history)),
    "levels": lambda history: levels.check(_of(*REGISTERS)(history)),
    "staleness": lambda history: staleness.check(_of(*REGISTERS)(history)),
    "replicas": replicas.check,
    "agreement": lambda history: agreement.check(history.observations),
    "counter": lambda history: counter.check(_of(COUNTER)(history)),
    "list": lambda history: appends.check(_of(LIST)(history)),
    "set": lambda history: set_full.check(_of(SET)(history)),
}

RIGHT: dict[str, set[str]] = {
    "stale read": {"linearizability"},
    "lost acknowledged write": {"durability", "linearizability"},
    "lost tail after restart": {"durability", "linearizability"},
    "two leaders acknowledging": {"linearizability", "agreement"},
    "dirty read of a failed write": {"linearizability"},
    "double apply of a retried cas": {"linearizability"},
    "cas that ignores the comparison": {"linearizability"},
    "delete resurrection": {"linearizability"},
    "cross-key swap": {"linearizability"},
    "ALL acknowledged at n-1": {"levels"},
    "acknowledged before fsync": {"durability", "linearizability"},
    "vote forgotten": {"agreement"},
    "follower read served as QUORUM": {"linearizability"},
    "non-monotonic session": {"sessions"},
    "replica divergence": {"replicas"},
    "commit of an older term's entry": {"agreement"},
}


def accused(history: History) -> set[str]:
    """The checkers that find something wrong."""
    return {name for name, check in CHECKS.items() if check(history).verdict is Verdict.INVALID}


def never_accused(seeds: Iterable[int]) -> None:
    judged: Counter[str] = Counter()
    undecided = keys = 0
    for seed in seeds:
        history = run(seed)
        results = {name: check(history) for name, check in CHECKS.items()}
        wrong = {
            name: result.findings for name, result in results.items() if name != "linearizability" and result.broken
        }
        assert not wrong, f"seed {seed}: {wrong}"
        assert results["linearizability"].verdict is Verdict.VALID, f"seed {seed}: {results['linearizability']}"
        judged.update(name for name, result in results.items() if result.verdict is Verdict.VALID)
        undecided += results["revisions"].undecided
        keys += results["revisions"].keys
    # A checker that has nothing to say would never accuse either.
    assert set(judged) == set(CHECKS)
    print(f"\nno bug: {judged.total()} verdicts, none wrong; {undecided} of {keys} keys undecided by revisions")


def test_every_bug_has_its_checker() -> None:
    assert set(RIGHT) == set(BUGS)
    assert len(BUGS) == 16


def test_a_run_replays_from_its_seed() -> None:
    assert [str(op) for op in run(7).operations] == [str(op) for op in run(7).operations]


def test_a_store_without_a_bug_is_never_accused() -> None:
    never_accused(SEEDS[:20])


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught_by_the_right_checker(bug: str) -> None:
    for seed in SEEDS:
        history = run(seed, bug)
        if any(CHECKS[name](history).verdict is Verdict.INVALID for name in RIGHT[bug]):
            return
    pytest.fail(f"not caught in {len(SEEDS)} runs")


@pytest.mark.long
def test_a_store_without_a_bug_is_never_accused_over_many_seeds() -> None:
    never_accused(MANY_SEEDS)


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_the_rate_of_detection(bug: str) -> None:
    by_checker: Counter[str] = Counter()
    rightly = at_all = 0
    for seed in MANY_SEEDS:
        found = accused(run(seed, bug))
        by_checker.update(found)
        rightly += bool(found & RIGHT[bug])
        at_all += bool(found)
    told = ", ".join(f"{name} {count}" for name, count in by_checker.most_common())
    print(f"\n{bug}: caught {at_all} of {len(MANY_SEEDS)}, by the right checker {rightly} ({told})")
    assert rightly >= len(MANY_SEEDS) // 40

"""The checkers of linearizability against each other, and against an oracle that tries everything."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvjepsen.checking.models import IMPOSSIBLE, MODELS, Call, State, calls_of, cut, loosened, stepper
from kvjepsen.checking.revisions import check_key
from kvjepsen.checking.search import search
from kvjepsen.checking.verdict import Verdict
from kvjepsen.checking.witness import witness
from kvjepsen.records import NEVER, Operation
from tests.support.oracle import linearizable
from tests.support.random_histories import random_history

KV = MODELS["kv"]


def told(operations: list[Operation]) -> str:
    return "\n".join(str(op) for op in operations)


def compare_with_oracle(seeds: range) -> None:
    """Search and oracle agree on every history, the checker of revisions contradicts neither; all kinds occur."""
    seen = {True: 0, False: 0}
    decided = 0
    for seed in seeds:
        versions = seed % 2 == 1
        operations = random_history(seed, ops_max=7 if seed % 20 < 2 else 6, versions=versions)
        expected = linearizable(operations)
        found = search(calls_of(operations, KV)).verdict
        assert found is (Verdict.VALID if expected else Verdict.INVALID), f"seed {seed}:\n{told(operations)}"
        seen[expected] += 1
        if versions:
            second = check_key(operations).verdict
            assert second in (found, Verdict.UNKNOWN), f"seed {seed}: {second}\n{told(operations)}"
            decided += second is not Verdict.UNKNOWN
    assert min(seen.values()) > len(seeds) // 10
    assert decided > 0.9 * len(seeds) / 2


def test_search_and_oracle_agree_on_3_000_histories() -> None:
    compare_with_oracle(range(3_000))


@pytest.mark.long
def test_search_and_oracle_agree_on_100_000_histories() -> None:
    compare_with_oracle(range(1_000_000, 1_100_000))


def plainly(calls: list[Call]) -> bool:
    """The same search with a memo and nothing else."""
    first, step = stepper(calls)
    seen = set()
    stack: list[tuple[frozenset[int], State]] = [(frozenset(), first)]
    while stack:
        done, state = stack.pop()
        left = [call for call in calls if call.i not in done]
        if not any(call.required for call in left):
            return True
        moment = min(call.ended for call in left if call.required)
        for call in left:
            after = step(state, call)
            if call.invoked <= moment and after is not IMPOSSIBLE and (done | {call.i}, after) not in seen:
                seen.add((done | {call.i}, after))
                stack.append((done | {call.i}, after))
    return False


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(5, 13), st.booleans())
def test_what_keeps_the_search_small_loses_nothing(chance: random.Random, ops_max: int, versions: bool) -> None:
    operations = random_history(chance, ops_max=ops_max, versions=versions)
    calls = calls_of(operations, KV)
    expected = Verdict.VALID if plainly(calls) else Verdict.INVALID
    assert search(calls).verdict is expected, told(operations)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_the_two_checkers_agree(chance: random.Random, ops_max: int) -> None:
    operations = random_history(chance, ops_max=ops_max, versions=True)
    first, second = search(calls_of(operations, KV)).verdict, check_key(operations).verdict
    assert first is not Verdict.UNKNOWN
    assert second in (first, Verdict.UNKNOWN), told(operations)


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_a_window_fails_by_itself_and_nothing_can_be_left_out(chance: random.Random, versions: bool) -> None:
    operations = random_history(chance, ops_max=12, versions=versions)
    calls = calls_of(operations, KV)
    outcome = search(calls)
    if outcome.verdict is Verdict.VALID:
        return
    needed = {call.i for call in witness(calls, outcome.reached)}
    assert needed
    # Counts of versions belong to it only if what had happened by then does not fail without them.
    plain = [call._replace(version=None) for call in calls]
    counted = search(cut(plain, outcome.reached)).verdict is Verdict.VALID
    for left_out in [None, *needed]:
        kept = needed - {left_out}
        trial = [
            call if call.i in kept else loosened(call)
            for call in (calls if counted else plain)
            if call.i in kept or not call.observes
        ]
        if left_out is None:
            assert search(trial).verdict is Verdict.INVALID
        elif not counted:
            assert search(trial).verdict is Verdict.VALID


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_knowing_less_never_convicts(chance: random.Random, versions: bool) -> None:
    """A history that is linearizable stays so when an answer is forgotten, or the end of it cut off."""
    operations = random_history(chance, ops_max=12, versions=versions)
    if search(calls_of(operations, KV)).verdict is Verdict.INVALID:
        return
    forgotten = chance.choice(operations)
    if forgotten.outcome == "ok":
        forgotten.outcome, forgotten.ended = "info", NEVER
        forgotten.revision = forgotten.version = None
    assert search(calls_of(operations, KV)).verdict is Verdict.VALID
    cut_at = chance.randint(0, 30)
    known = [op for op in operations if op.i <= cut_at]
    for op in known:
        if op.ended > cut_at:
            op.outcome, op.ended, op.revision, op.version = "info", NEVER, None, None
    assert search(calls_of(known, KV)).verdict is Verdict.VALID

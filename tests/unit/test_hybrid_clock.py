"""The hybrid clock: never back, never the same twice, above what it applied, and not led astray by what others tell."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kvstore.model.stamp import Stamp
from kvstore.node.hybrid_clock import HybridClock
from tests.support.intent_logs import HandClock

DRIFT_MS = 100


def make(wall: int = 1_000) -> tuple[HybridClock, HandClock]:
    hand = HandClock(wall)
    return HybridClock(hand, "n1", lambda: DRIFT_MS), hand


def test_it_runs_with_the_wall_clock_and_counts_within_a_millisecond() -> None:
    clock, wall = make()
    assert [clock.next(), clock.next(7)] == [Stamp(1_000, 0, "n1", 0), Stamp(1_000, 1, "n1", 7)]
    wall.wall = 1_001
    assert clock.next(8) == Stamp(1_001, 0, "n1", 8)


def test_a_wall_clock_that_goes_back_does_not_take_it_along() -> None:
    clock, wall = make()
    clock.next()
    wall.wall = 1
    assert clock.next() == Stamp(1_000, 1, "n1", 0)
    assert clock.highest() == Stamp(1_000, 1, "n1", 0)


def test_what_was_applied_is_passed_however_far_ahead_it_is() -> None:
    clock, _ = make()
    clock.resume(1_000_000, 5)
    assert clock.next() == Stamp(1_000_000, 6, "n1", 0)
    clock.resume(999_999, 900)
    assert clock.next() == Stamp(1_000_000, 7, "n1", 0)


def test_what_others_tell_is_followed_up_to_the_drift_and_not_a_millisecond_further() -> None:
    clock, _ = make()
    clock.heard(Stamp(1_000 + DRIFT_MS + 1, 0, "n9", 0))
    assert clock.next() == Stamp(1_000, 0, "n1", 0)
    clock.heard(Stamp(1_000 + DRIFT_MS, 3, "n9", 0))
    assert clock.next() == Stamp(1_000 + DRIFT_MS, 4, "n1", 0)


def test_the_drift_is_asked_for_each_time_because_it_is_replicated() -> None:
    drift = [0]
    clock = HybridClock(HandClock(1_000), "n1", lambda: drift[0])
    clock.heard(Stamp(1_050, 0, "n9", 0))
    assert clock.highest().ms == 0
    drift[0] = 50
    clock.heard(Stamp(1_050, 0, "n9", 0))
    assert clock.highest().ms == 1_050


MS = st.integers(0, 2_000)
STEPS = st.lists(
    st.tuples(st.just("wall"), MS)
    | st.tuples(st.just("next"), st.integers(0, 3))
    | st.tuples(st.just("resume"), MS, st.integers(0, 3))
    | st.tuples(st.just("heard"), MS, st.integers(0, 3)),
    max_size=40,
)


@given(steps=STEPS)
def test_every_stamp_is_above_all_that_it_gave_out_or_took_notice_of(steps: list[tuple[Any, ...]]) -> None:
    clock, wall = make()
    below = (0, 0)
    given_out = []
    for kind, *values in steps:
        before = clock.highest()
        if kind == "wall":
            wall.wall = values[0]
        elif kind == "next":
            stamp = clock.next(values[0])
            assert stamp[:2] > below
            assert stamp.ms >= wall.wall
            assert (stamp.node, stamp.sequence) == ("n1", values[0])
            given_out.append(stamp)
            below = stamp[:2]
        elif kind == "resume":
            clock.resume(*values)
            below = max(below, tuple(values))
        else:
            clock.heard(Stamp(*values, "n9", 0))
            if values[0] <= wall.wall + DRIFT_MS:
                below = max(below, tuple(values))
        assert clock.highest() >= before
        assert clock.highest()[:2] == below
    assert given_out == sorted(set(given_out))

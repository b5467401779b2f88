"""Laws that the odds keep for every number of nodes and every probability, and what intervals promise."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kvstore.availability import (
    Client,
    binomial_p_value,
    clopper_pearson,
    documented_failure,
    documented_percentile,
    documented_survival,
    familywise_confidence,
    level_availability,
    level_unavailability,
    majority,
    nearest_rank_percentile,
    outages,
    overstatement,
    post_stratified,
    raft_failure,
    raft_survival,
    steady_state_availability,
    wilson,
)
from tests.support.exact_odds import failures

NODES = st.integers(1, 101)
CHANCES = st.floats(0, 1) | st.sampled_from([0.0, 1e-9, 0.01, 0.5, 1.0])
LEVELS = st.sampled_from(["one", "quorum", "all"])
CLIENTS = st.sampled_from(list(Client))
CONFIDENCES = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.9999])
SAMPLES = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40)
PERCENTILES = st.decimals(0, 100, places=3).map(float)

ROUNDING = 1e-12


class TestSurvival:
    @given(NODES, CHANCES)
    def test_a_chance_and_its_complement_sum_to_one(self, n: int, p: float) -> None:
        assert documented_survival(n, p) + documented_failure(n, p) == pytest.approx(1, abs=ROUNDING)
        assert raft_survival(n, p) + raft_failure(n, p) == pytest.approx(1, abs=ROUNDING)

    @given(LEVELS, NODES, CHANCES, CLIENTS)
    def test_so_it_is_for_levels(self, level: str, n: int, p: float, client: Client) -> None:
        served, lost = level_availability(level, n, p, client), level_unavailability(level, n, p, client)
        assert served + lost == pytest.approx(1, abs=ROUNDING)
        assert 0 <= served <= 1 + ROUNDING
        assert 0 <= lost <= 1 + ROUNDING

    @given(LEVELS, NODES, CHANCES, CHANCES, CLIENTS)
    def test_worse_nodes_never_make_it_better(self, level: str, n: int, p: float, q: float, client: Client) -> None:
        low, high = sorted((p, q))
        assert level_unavailability(level, n, low, client) <= level_unavailability(level, n, high, client) * (
            1 + ROUNDING
        )
        assert documented_failure(n, low) <= documented_failure(n, high) * (1 + ROUNDING)

    @given(NODES, CHANCES)
    def test_levels_that_need_more_are_served_less(self, n: int, p: float) -> None:
        for client in Client:
            one, quorum, all_ = (level_unavailability(level, n, p, client) for level in ("one", "quorum", "all"))
            assert one * (1 - ROUNDING) <= quorum * (1 + ROUNDING)
            assert quorum * (1 - ROUNDING) <= all_ * (1 + ROUNDING)

    @given(LEVELS, NODES, CHANCES)
    def test_a_pinned_client_is_never_served_more(self, level: str, n: int, p: float) -> None:
        pinned, every = (level_unavailability(level, n, p, client) for client in (Client.PINNED, Client.EVERY))
        assert pinned >= every * (1 - ROUNDING)

    @given(st.integers(0, 50), CHANCES)
    def test_both_formulas_agree_for_odd_n(self, half: int, p: float) -> None:
        assert documented_survival(2 * half + 1, p) == raft_survival(2 * half + 1, p)
        assert overstatement(2 * half + 1, p) == 0

    @given(st.integers(1, 50), CHANCES)
    def test_for_even_n_the_gap_is_the_chance_of_exactly_half(self, half: int, p: float) -> None:
        exact = Fraction(p) * (1 - Fraction(p))
        gap = float(math.comb(2 * half, half) * exact**half)
        assert overstatement(2 * half, p) == pytest.approx(gap, rel=ROUNDING, abs=5e-324)
        assert raft_failure(2 * half, p) - documented_failure(2 * half, p) == pytest.approx(gap, abs=1e-14)
        assert documented_survival(2 * half, p) - raft_survival(2 * half, p) == pytest.approx(gap, abs=1e-14)

    @given(st.integers(1, 50), CHANCES)
    def test_the_odd_cluster_below_lies_between_the_two_formulas(self, half: int, p: float) -> None:
        """A node more than 2k - 1 makes Raft no better, whatever p is; by the documented formula it never harms."""
        below = raft_failure(2 * half - 1, p)
        assert documented_failure(2 * half, p) * (1 - ROUNDING) <= below <= raft_failure(2 * half, p) * (1 + ROUNDING)

    @given(LEVELS, st.integers(1, 40), CLIENTS, st.floats(1, 1e6), st.floats(1, 1e6))
    def test_outages_add_up_to_the_unavailability(
        self, level: str, n: int, client: Client, mttf_s: float, mttr_s: float
    ) -> None:
        p = 1 - steady_state_availability(mttf_s, mttr_s)
        assume(level_unavailability(level, n, p, client) > 1e-250)
        assume(level_availability(level, n, p, client) > 1e-250)
        found = outages(level, n, mttf_s, mttr_s, client)
        assert found.per_second * found.mean_s == pytest.approx(found.unavailability, rel=1e-9)
        between_s = (1 - found.unavailability) / found.per_second
        assert between_s + found.mean_s == pytest.approx(1 / found.per_second, rel=1e-9)


class TestPercentiles:
    @given(SAMPLES, PERCENTILES)
    def test_documented_rule_against_its_definition(self, sample: list[float], q: float) -> None:
        exact = Fraction(str(q)) * (len(sample) - 1) / 100
        whole = exact.numerator // exact.denominator
        index = whole if exact - whole < Fraction(1, 2) else whole + 1
        assert documented_percentile(sample, q) == sorted(sample)[index]

    @given(SAMPLES, PERCENTILES)
    def test_nearest_rank_is_the_smallest_that_enough_do_not_exceed(self, sample: list[float], q: float) -> None:
        wanted = Fraction(str(q)) * len(sample)
        enough = [x for x in sample if 100 * sum(y <= x for y in sample) >= wanted]
        assert nearest_rank_percentile(sample, q) == min(enough)

    @given(SAMPLES, PERCENTILES, PERCENTILES)
    def test_both_rise_with_q_and_stay_within_the_sample(self, sample: list[float], q: float, r: float) -> None:
        for rule in (documented_percentile, nearest_rank_percentile):
            assert rule(sample, min(q, r)) <= rule(sample, max(q, r))
            assert (rule(sample, 0), rule(sample, 100)) == (min(sample), max(sample))


class TestIntervals:
    @given(st.integers(0, 400), st.integers(0, 400), CONFIDENCES)
    def test_they_hold_the_share_and_mirror(self, successes: int, others: int, confidence: float) -> None:
        trials = successes + others
        for interval in (clopper_pearson, wilson):
            low, high = interval(successes, trials, confidence)
            assert 0 <= low <= (successes / trials if trials else 0.5) <= high <= 1
            mirrored = interval(others, trials, confidence)
            assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)

    @given(st.integers(0, 200), st.integers(1, 200))
    def test_more_confidence_is_wider(self, successes: int, others: int) -> None:
        for interval in (clopper_pearson, wilson):
            narrow, wide = (interval(successes, successes + others, c) for c in (0.9, 0.99))
            assert wide.low <= narrow.low
            assert narrow.high <= wide.high

    @pytest.mark.parametrize("trials", [1, 2, 5, 12, 25])
    @pytest.mark.parametrize("confidence", [0.8, 0.95, familywise_confidence(0.95, 20)])
    def test_clopper_pearson_covers_every_truth_often_enough(self, trials: int, confidence: float) -> None:
        """By enumeration: the chance of those outcomes whose interval holds p, for p on a grid and at every bound."""
        intervals = [clopper_pearson(x, trials, confidence) for x in range(trials + 1)]
        bounds = [bound for interval in intervals for bound in interval]
        truths = [*np.linspace(0, 1, 101), *bounds, *(np.nextafter(b, 0) for b in bounds)]
        for p in truths:
            chances = failures(trials, Fraction(float(p)))
            covered = sum(chance for chance, (low, high) in zip(chances, intervals, strict=True) if low <= p <= high)
            assert float(covered) >= confidence - 1e-9, p

    def test_wilson_covers_on_average_but_not_always(self) -> None:
        intervals = [wilson(x, 20) for x in range(21)]
        covered = []
        for p in np.linspace(0.0025, 0.9975, 200):
            chances = failures(20, Fraction(float(p)))
            covered.append(float(sum(c for c, (low, high) in zip(chances, intervals, strict=True) if low <= p <= high)))
        assert sum(covered) / len(covered) == pytest.approx(0.95, abs=0.01)
        assert min(covered) < 0.9

    @given(st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.999), CONFIDENCES)
    def test_a_p_value_and_the_exact_interval_say_the_same(
        self, successes: int, others: int, p: float, confidence: float
    ) -> None:
        assume(successes + others)
        low, high = clopper_pearson(successes, successes + others, confidence)
        value = binomial_p_value(successes, successes + others, p)
        assume(abs(value - (1 - confidence)) > 1e-9)
        assert (value < 1 - confidence) == (not low <= p <= high)

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 1)), min_size=1, max_size=6))
    def test_the_estimate_from_strata_lies_within_its_interval(self, cells: list[tuple[int, int, float]]) -> None:
        assume(any(x + y for x, y, _ in cells))
        weights = np.array([weight for _, _, weight in cells])
        weights /= weights.sum()
        found = post_stratified(list(weights), [x for x, _, _ in cells], [x + y for x, y, _ in cells])
        assert found.interval.low <= found.estimate <= found.interval.high
        assert found.interval.high - found.interval.low >= found.unreached - 1e-12


class TestMajority:
    @given(NODES)
    def test_two_majorities_meet_and_nothing_smaller_does(self, n: int) -> None:
        assert 2 * majority(n) > n >= 2 * (majority(n) - 1)

"""The maths of the odds against exact fractions and published values."""

import math
from fractions import Fraction

import numpy as np
import pytest

from kvstore.availability import (
    Client,
    Interval,
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
    nines,
    outages,
    overstatement,
    post_stratified,
    raft_failure,
    raft_survival,
    steady_state_availability,
    trials_for_width,
    uptime_ratio,
    wilson,
)
from kvstore.limits import ODDS_NODES_MAX
from kvstore.model.levels import Level
from tests.support.exact_odds import chance_that, failures, is_served, subsets

LEVELS = ("one", "quorum", "all")
CHANCES = (0.0, 1e-300, 1e-9, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.999, 1 - 1e-9, 1.0)


def close(exact: Fraction, rel: float = 1e-12) -> object:
    return pytest.approx(float(exact), rel=rel, abs=5e-324)


class TestSurvival:
    def test_the_worked_example_of_the_document(self) -> None:
        assert f"{documented_survival(4, 0.1):.15f}" == "0.996300000000000"
        assert f"{raft_survival(4, 0.1):.15f}" == "0.947700000000000"
        assert f"{overstatement(4, 0.1):.15f}" == "0.048600000000000"

    @pytest.mark.parametrize(
        ("n", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (9, 5), (100, 51), (101, 51)]
    )
    def test_majority(self, n: int, needed: int) -> None:
        assert majority(n) == needed

    @pytest.mark.parametrize("n", range(1, 8))
    @pytest.mark.parametrize("p", CHANCES)
    def test_documented_and_raft_count_the_subsets(self, n: int, p: float) -> None:
        exact = Fraction(p)
        majority_fails = chance_that(lambda up: 2 * up.count(False) > n, n, exact)
        majority_lives = chance_that(lambda up: 2 * up.count(True) > n, n, exact)
        assert documented_survival(n, p) == close(1 - majority_fails)
        assert documented_failure(n, p) == close(majority_fails)
        assert raft_survival(n, p) == close(majority_lives)
        assert raft_failure(n, p) == close(1 - majority_lives)

    @pytest.mark.parametrize("n", [10, 51, 71, 100, 101])
    @pytest.mark.parametrize("p", [p for p in CHANCES if p != 1e-300])
    def test_large_clusters_are_as_exact(self, n: int, p: float) -> None:
        chances = failures(n, Fraction(p))
        assert documented_failure(n, p) == close(sum(chances[n // 2 + 1 :], Fraction(0)))
        assert raft_failure(n, p) == close(sum(chances[(n + 1) // 2 :], Fraction(0)))
        assert raft_survival(n, p) == close(sum(chances[: (n + 1) // 2], Fraction(0)))
        assert overstatement(n, p) == close(chances[n // 2] if n % 2 == 0 else Fraction(0))

    def test_nothing_underflows_on_the_way(self) -> None:
        """1e-9 to the power of 36 is no double; times the choices it is one."""
        exact = sum(failures(71, Fraction(1e-9))[36:], Fraction(0))
        assert 1e-305 < raft_failure(71, 1e-9) == close(exact)
        assert raft_failure(ODDS_NODES_MAX, 0.5) == pytest.approx(0.5, rel=1e-12)

    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("client", Client)
    @pytest.mark.parametrize("n", range(1, 7))
    def test_levels_count_the_subsets(self, level: str, client: Client, n: int) -> None:
        for p in CHANCES:
            exact = chance_that(is_served(level, client is Client.PINNED), n, Fraction(p))
            assert level_availability(level, n, p, client) == close(exact), p
            assert level_unavailability(level, n, p, client) == close(1 - exact), p

    def test_the_levels_of_the_store_are_those_of_the_odds(self) -> None:
        assert [level_availability(level, 3, 0.5) for level in Level] == [0.875, 0.5, 0.125]

    @pytest.mark.parametrize("n", [1, 2, 3, 4, 101])
    def test_the_edges_are_exact(self, n: int) -> None:
        for level in LEVELS:
            for client in Client:
                assert (level_availability(level, n, 0, client), level_unavailability(level, n, 0, client)) == (1, 0)
                assert (level_availability(level, n, 1, client), level_unavailability(level, n, 1, client)) == (0, 1)
        assert (documented_survival(n, 0), documented_survival(n, 1)) == (1, 0)

    def test_one_node_is_every_level_and_both_formulas(self) -> None:
        for p in CHANCES:
            assert {level_availability(level, 1, p, client) for level in LEVELS for client in Client} == {1 - p}
            assert documented_survival(1, p) == raft_survival(1, p) == 1 - p

    def test_arrays_give_arrays_of_their_shape(self) -> None:
        p = np.array([[0, 0.1, 0.5], [0.9, 1, 1e-9]])
        for function in (documented_survival, raft_survival, documented_failure, raft_failure, overstatement):
            several = function(4, p)
            assert several.shape == p.shape
            assert several.tolist() == [[function(4, float(each)) for each in row] for row in p]
        for client in Client:
            several = level_availability("quorum", 5, p, client)
            assert several.tolist() == [
                [level_availability("quorum", 5, float(each), client) for each in row] for row in p
            ]

    @pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, np.array([0.5, math.nan])])
    def test_what_is_no_probability_is_refused(self, p: float) -> None:
        for client in Client:
            with pytest.raises(ValueError, match="probability"):
                level_availability("quorum", 3, p, client)
        with pytest.raises(ValueError, match="probability"):
            documented_survival(3, p)

    @pytest.mark.parametrize("n", [0, -1, ODDS_NODES_MAX + 1])
    def test_what_is_no_cluster_is_refused(self, n: int) -> None:
        for function in (documented_survival, documented_failure, raft_survival, raft_failure, overstatement):
            with pytest.raises(ValueError, match="nodes"):
                function(n, 0.1)

    def test_what_is_no_level_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'two' is not one, quorum or all"):
            level_availability("two", 3, 0.1)

    def test_nines(self) -> None:
        assert [nines(each) for each in (1, 0.1, 0.001, 0)] == [0, 1, 3, math.inf]


class TestTime:
    def test_uptime_ratio(self) -> None:
        assert (uptime_ratio(0, 10), uptime_ratio(9, 10), uptime_ratio(10, 10)) == (0, 0.9, 1)
        for wrong in ((-1, 10), (11, 10), (0, 0), (1, math.inf), (math.nan, 1)):
            with pytest.raises(ValueError, match="uptime"):
                uptime_ratio(*wrong)

    def test_steady_state(self) -> None:
        assert steady_state_availability(99, 1) == 0.99
        for wrong in ((0, 1), (1, 0), (-1, 1), (math.inf, 1), (1, math.nan)):
            with pytest.raises(ValueError, match="must be above 0"):
                steady_state_availability(*wrong)

    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("client", Client)
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
    def test_outages_are_the_passages_from_up_to_down(self, level: str, client: Client, n: int) -> None:
        """In the chain over all subsets: each node that is up and whose failure ends the service, at its rate."""
        mttf, mttr = Fraction(50), Fraction(3)
        served = is_served(level, client is Client.PINNED)
        per_second, down = Fraction(0), Fraction(0)
        for up, chance in subsets(n, mttr / (mttf + mttr)):
            if not served(up):
                down += chance
                continue
            for i in range(n):
                if up[i] and not served((*up[:i], False, *up[i + 1 :])):
                    per_second += chance / mttf
        found = outages(level, n, 50.0, 3.0, client)
        assert found.unavailability == close(down)
        assert found.per_second == close(per_second)
        assert found.mean_s == close(down / per_second)

    def test_outages_that_cannot_be_computed_are_refused(self) -> None:
        with pytest.raises(ValueError, match="too rare"):
            outages("one", 99, 1e9, 1.0)
        with pytest.raises(ValueError, match="MTTR"):
            outages("one", 3, 1e9, 0)


class TestPercentiles:
    SAMPLE = (40.0, 10.0, 30.0, 20.0)

    @pytest.mark.parametrize(
        ("q", "documented", "nearest"),
        [(0, 10, 10), (25, 20, 10), (50, 30, 20), (75, 30, 30), (90, 40, 40), (99.9, 40, 40), (100, 40, 40)],
    )
    def test_the_two_rules_differ(self, q: float, documented: float, nearest: float) -> None:
        """Indices q/100 * 3 are 0, 0.75, 1.5 (a half, up), 2.25, 2.7, 2.997, 3; ranks are 1, 1, 2, 3, 4, 4, 4."""
        assert documented_percentile(self.SAMPLE, q) == documented
        assert nearest_rank_percentile(self.SAMPLE, q) == nearest

    def test_a_half_goes_away_from_zero_not_to_the_even_index(self) -> None:
        assert documented_percentile(range(6), 50) == 3  # index 2.5; Python's round() says 2
        assert documented_percentile(range(2), 50) == 1

    def test_ranks_are_exact_in_the_decimal(self) -> None:
        assert 29 / 100 * 50 < 14.5
        assert documented_percentile(range(51), 29) == 15
        assert 7 / 100 * 100 > 7
        assert nearest_rank_percentile(range(100), 7) == 6
        assert nearest_rank_percentile(range(1_000), 99.9) == 998

    def test_one_element_is_every_percentile(self) -> None:
        for q in (0, 50, 100):
            assert documented_percentile([7.0], q) == nearest_rank_percentile([7.0], q) == 7

    def test_the_sample_stays_as_it_is(self) -> None:
        sample = np.array([3.0, 1.0, 2.0])
        documented_percentile(sample, 50)
        assert sample.tolist() == [3, 1, 2]

    @pytest.mark.parametrize("rule", [documented_percentile, nearest_rank_percentile])
    def test_errors(self, rule: object) -> None:
        for sample in ([], [1.0, math.nan], [[1.0], [2.0]]):
            with pytest.raises(ValueError, match="a percentile needs a list of numbers"):
                rule(sample, 50)  # type: ignore[operator]
        for q in (-0.1, 100.1, math.nan):
            with pytest.raises(ValueError, match="is not from 0 to 100"):
                rule([1.0], q)  # type: ignore[operator]


class TestIntervals:
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, methods 5 and 3.
    @pytest.mark.parametrize(
        ("successes", "trials", "exact", "score"),
        [
            (81, 263, ("0.2527", "0.3676"), ("0.2553", "0.3662")),
            (15, 148, ("0.0578", "0.1617"), ("0.0624", "0.1605")),
            (0, 20, ("0.0000", "0.1684"), ("0.0000", "0.1611")),
            (1, 29, ("0.0009", "0.1776"), ("0.0061", "0.1718")),
        ],
    )
    def test_published_values(
        self, successes: int, trials: int, exact: tuple[str, str], score: tuple[str, str]
    ) -> None:
        assert tuple(f"{bound:.4f}" for bound in clopper_pearson(successes, trials)) == exact
        assert tuple(f"{bound:.4f}" for bound in wilson(successes, trials)) == score

    @pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999999])
    @pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (3, 10), (99, 100), (60, 150)])
    def test_clopper_pearson_solves_its_equations(self, successes: int, trials: int, confidence: float) -> None:
        """At the bounds the exact tails are half of what the confidence leaves."""
        low, high = clopper_pearson(successes, trials, confidence)
        tail = (1 - confidence) / 2
        if successes:
            assert float(sum(failures(trials, Fraction(low))[successes:])) == pytest.approx(tail, rel=1e-7)
        else:
            assert low == 0
        if successes < trials:
            assert float(sum(failures(trials, Fraction(high))[: successes + 1])) == pytest.approx(tail, rel=1e-7)
        else:
            assert high == 1

    @pytest.mark.parametrize("trials", [1, 10, 1_000, 1_000_000])
    def test_no_failure_at_all_has_a_closed_form(self, trials: int) -> None:
        low, high = clopper_pearson(trials, trials)
        assert (low, high) == (pytest.approx(0.025 ** (1 / trials), rel=1e-9), 1)
        low, high = clopper_pearson(0, trials)
        assert (low, high) == (0, pytest.approx(-math.expm1(math.log(0.025) / trials), rel=1e-8))

    @pytest.mark.parametrize("interval", [clopper_pearson, wilson])
    def test_no_trials_say_nothing(self, interval: object) -> None:
        assert interval(0, 0) == Interval(0, 1)  # type: ignore[operator]

    @pytest.mark.parametrize("interval", [clopper_pearson, wilson])
    def test_errors(self, interval: object) -> None:
        for wrong in ((-1, 5), (6, 5), (0, -1)):
            with pytest.raises(ValueError, match="successes of"):
                interval(*wrong)  # type: ignore[operator]
        for confidence in (0, 1, -1, math.nan):
            with pytest.raises(ValueError, match="confidence"):
                interval(1, 5, confidence)  # type: ignore[operator]

    def test_familywise(self) -> None:
        assert familywise_confidence(0.95, 1) == pytest.approx(0.95)
        assert familywise_confidence(0.99, 36) == pytest.approx(1 - 0.01 / 36, rel=1e-15)
        with pytest.raises(ValueError, match="cells"):
            familywise_confidence(0.95, 0)

    @pytest.mark.parametrize(("trials", "p"), [(1, 0.3), (7, 0.5), (20, 0.9477), (40, 0.9963), (30, 0.0), (30, 1.0)])
    def test_p_values_are_the_doubled_smaller_tail(self, trials: int, p: float) -> None:
        chances = failures(trials, Fraction(p))
        for successes in range(trials + 1):
            most, least = sum(chances[: successes + 1]), sum(chances[successes:])
            assert binomial_p_value(successes, trials, p) == close(min(Fraction(1), 2 * min(most, least)), rel=1e-11)

    def test_the_documented_formula_is_rejected_by_few_trials(self) -> None:
        """n = 4, p = 0.1: with 200 trials that go as Raft goes."""
        successes = round(200 * raft_survival(4, 0.1))
        assert binomial_p_value(successes, 200, documented_survival(4, 0.1)) < 0.001
        assert binomial_p_value(successes, 200, raft_survival(4, 0.1)) > 0.5

    def test_a_p_value_of_what_cannot_be(self) -> None:
        assert binomial_p_value(4, 5, 1.0) == 0
        assert binomial_p_value(1, 5, 0.0) == 0
        with pytest.raises(ValueError, match="probability"):
            binomial_p_value(1, 5, 1.5)

    @pytest.mark.parametrize("width", [0.3, 0.1, 0.02])
    @pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.99, 1.0])
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
    def test_trials_for_a_width_are_the_fewest(self, width: float, p: float, confidence: float) -> None:
        """Wilson's width for a share p of n trials, from his paper's quadratic (r - x)^2 = z^2 x (1 - x) / n in x."""

        def wide(n: int) -> float:
            z2 = _z(confidence) ** 2
            a, b, c = 1 + z2 / n, -(2 * p + z2 / n), p * p
            return math.sqrt(b * b - 4 * a * c) / a

        n = trials_for_width(width, confidence, p)
        assert wide(n) <= width * (1 + 1e-12)
        assert n == 1 or wide(n - 1) > width

    def test_trials_for_a_width_known_from_books(self) -> None:
        assert trials_for_width(0.1) == 381
        for width, p in ((0, 0.5), (1, 0.5), (0.1, -0.1), (0.1, math.nan)):
            with pytest.raises(ValueError, match="width"):
                trials_for_width(width, p=p)


class TestStrata:
    def test_a_stratum_alone_is_its_own_estimate(self) -> None:
        found = post_stratified([1.0], [30], [40])
        assert (found.estimate, found.unreached) == (0.75, 0)
        assert found.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 40))
        assert found.interval == pytest.approx(clopper_pearson(30, 40))

    def test_strata_are_weighed_not_pooled(self) -> None:
        found = post_stratified([0.9, 0.1], [10, 50], [20, 100])
        assert found.estimate == pytest.approx(0.9 * 0.5 + 0.1 * 0.5)
        found = post_stratified([0.75, 0.25], [9, 10], [10, 100])
        assert found.estimate == pytest.approx(0.75 * 0.9 + 0.25 * 0.1)
        assert found.standard_error == pytest.approx(math.sqrt(0.75**2 * 0.09 / 10 + 0.25**2 * 0.09 / 100))
        lows, highs = zip(*(clopper_pearson(*cell, 0.975) for cell in ((9, 10), (10, 100))), strict=True)
        assert found.interval == pytest.approx(
            (0.75 * lows[0] + 0.25 * lows[1], 0.75 * highs[0] + 0.25 * highs[1]), rel=1e-9
        )

    def test_every_subset_once_gives_the_exact_odds_for_any_p(self) -> None:
        """Strata are the numbers of failures; whether a quorum is there depends on that alone."""
        trials = [math.comb(4, k) for k in range(5)]
        successes = [count if k < 2 else 0 for k, count in enumerate(trials)]
        for p in (0.1, 0.3, 0.5):
            found = post_stratified([float(each) for each in failures(4, Fraction(p))], successes, trials)
            assert found.estimate == pytest.approx(raft_survival(4, p), rel=1e-12)
            assert found.standard_error == 0
            assert found.interval.low < raft_survival(4, p) < found.interval.high

    def test_what_no_trial_reached_counts_as_anything(self) -> None:
        found = post_stratified([0.5, 0.3, 0.2], [100_000, 0, 0], [100_000, 100_000, 0])
        assert found.estimate == pytest.approx(0.5 / 0.8)
        assert found.unreached == 0.2
        assert found.interval == pytest.approx((0.5, 0.7), abs=1e-4)
        with pytest.raises(ValueError, match="no stratum"):
            post_stratified([1.0, 0.0], [0, 5], [0, 5])

    def test_errors(self) -> None:
        for weights, trials in (([], []), ([1.0], [1, 1]), ([0.5, 0.4], [1, 1]), ([1.5, -0.5], [1, 1])):
            with pytest.raises(ValueError, match="weights"):
                post_stratified(weights, [0] * len(trials), trials)
        with pytest.raises(ValueError, match="successes of"):
            post_stratified([1.0], [2], [1])


def _z(confidence: float) -> float:
    """The quantile of the normal distribution, by bisection on the error function."""
    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < confidence else (low, middle)
    return low

"""The odds: how likely it is that a cluster serves, and what trials allow one to say about that.

Pure functions, in five parts: the chance that n independent nodes serve a level when each fails with probability p, as
the document has it and as it is for Raft; uptime and outages; percentiles of latencies; confidence intervals and
p-values of a proportion; estimates from strata. docs/availability.md derives the formulas in plain words.

Every chance comes with its complement (`..._failure`, `..._unavailability`), and each is a sum of positive terms: a
loss of 1e-30 is told as exactly as one of 0.3, while 1 - 1e-30 is 1. Arguments outside of their range are a ValueError.
"""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from kvstore.limits import ODDS_NODES_MAX

# A probability: one, or an array of them; the result has the same shape.
P = TypeVar("P", float, NDArray[np.float64])

YEAR_S: Final = 31_557_600.0  # a Julian year, 365.25 days


# --- The chance that a cluster serves ---------------------------------------------------------------------------------


class Client(StrEnum):
    """Where a client sends its request: to one node after the other until one serves it, or to one node only."""

    EVERY = "every"
    PINNED = "pinned"


def majority(n: int) -> int:
    """Nodes of n that are more than half: n // 2 + 1."""
    if not 1 <= n <= ODDS_NODES_MAX:
        raise ValueError(f"{n} nodes: the number must be from 1 to {ODDS_NODES_MAX}")
    return n // 2 + 1


def documented_survival(n: int, p: P) -> P:
    """1 - sum C(n,k) p^k (1-p)^(n-k), k = majority..n: the chance that fewer than a majority *fail*.

    Source: the document's "probability of maintaining consistency". Right for odd n; for even n see `overstatement`.
    """
    return _chance(n, range(majority(n)), p)


def documented_failure(n: int, p: P) -> P:
    """1 - `documented_survival`, without cancellation: the chance that a majority fails."""
    return _chance(n, range(majority(n), n + 1), p)


def raft_survival(n: int, p: P) -> P:
    """sum C(n,k) p^k (1-p)^(n-k), k = 0..(n-1)//2: the chance that a majority is *alive*, which is what Raft needs.

    Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), section 5.1.
    """
    return level_availability("quorum", n, p)


def raft_failure(n: int, p: P) -> P:
    """1 - `raft_survival`, without cancellation: the chance that half of the nodes or more fail."""
    return level_unavailability("quorum", n, p)


def overstatement(n: int, p: P) -> P:
    """`documented_survival` - `raft_survival`: C(n,n/2) (p(1-p))^(n/2) for even n, 0 for odd n.

    It is the chance that exactly half of the nodes fail: no majority has failed, and none is alive.
    """
    half = majority(n) - 1
    return _chance(n, range(half, half + 1 - n % 2), p)


def level_availability(level: str, n: int, p: P, client: Client = Client.EVERY) -> P:
    """The chance that a request at `level` ("one", "quorum", "all") is served while each node is down with chance p.

    A client that tries every node needs 1, a majority, or n nodes alive: 1 - p^n, `raft_survival`, (1-p)^n.
    A pinned one needs its own node, and the rest of them among the other n-1: 1-p,
    (1-p) sum C(n-1,k) p^k (1-p)^(n-1-k) with k = 0..(n-1)//2, and (1-p)^n.
    """
    spare = n - _needed(level, n)
    if client is Client.EVERY:
        return _chance(n, range(spare + 1), p)
    return (1 - p) * _chance(n - 1, range(spare + 1), p)


def level_unavailability(level: str, n: int, p: P, client: Client = Client.EVERY) -> P:
    """1 - `level_availability`, without cancellation."""
    spare = n - _needed(level, n)
    if client is Client.EVERY:
        return _chance(n, range(spare + 1, n + 1), p)
    return p + (1 - p) * _chance(n - 1, range(spare + 1, n), p)


def nines(unavailability: float) -> float:
    """-log10 of the unavailability: 3.0 is 99.9 %. Infinite for 0, which may also be a chance below 1e-307."""
    return math.inf if unavailability == 0 else abs(math.log10(unavailability))


def losses(n: int, p: float) -> dict[str, float]:
    """What is missing to 1: documented, raft, one, quorum, all. Near to 1 only this tells two chances apart."""
    return {
        "documented": documented_failure(n, p),
        "raft": raft_failure(n, p),
        **{level: level_unavailability(level, n, p) for level in ("one", "quorum", "all")},
    }


def odds_row(n: int, p: float) -> dict[str, Any]:
    """All that is told of n nodes, each down with chance p, as `kv odds` and `GET /v1/odds` have it in JSON."""
    lost = losses(n, p)
    return {
        "n": n,
        "majority": majority(n),
        "documented": documented_survival(n, p),
        "raft": raft_survival(n, p),
        **{level: level_availability(level, n, p) for level in ("one", "quorum", "all")},
        # JSON knows no infinity: null where nothing is lost.
        "nines": {name: nines(loss) if loss else None for name, loss in lost.items()},
        "downtime_s_per_year": {name: loss * YEAR_S for name, loss in lost.items()},
        "even_warning": n % 2 == 0,
    }


def _needed(level: str, n: int) -> int:
    """How many nodes a level needs alive."""
    needed = {"one": 1, "quorum": majority(n), "all": n}.get(level)
    if needed is None:
        raise ValueError(f"{level!r} is not one, quorum or all")
    return needed


def _chance(n: int, failures: range, p: P) -> P:
    """sum C(n,k) p^k (1-p)^(n-k) over k in `failures`, for each p; relative error below 1e-12.

    The smaller of the two tails is the one that is summed. Powers are taken of the mantissas only and the exponents
    added, so that nothing underflows on the way to a result that does not.
    """
    chances = np.asarray(p, dtype=np.float64)
    if not np.all((chances >= 0) & (chances <= 1)):
        raise ValueError("a probability must be from 0 to 1")
    others = [k for k in range(n + 1) if k not in failures]
    total, rest = _terms(n, list(failures), chances), _terms(n, others, chances)
    total = np.where(rest < total, 1 - rest, total)
    return cast(P, float(total) if total.ndim == 0 else total)


def _terms(n: int, ks: list[int], p: NDArray[np.float64]) -> NDArray[np.float64]:
    k = np.array(ks, dtype=np.int64).reshape(-1, *[1] * p.ndim)
    choices = _choices(n)[k]
    (fail, fail_exponent), (live, live_exponent) = np.frexp(p), np.frexp(1 - p)
    mantissas = choices * fail**k * live ** (n - k)
    terms = np.ldexp(mantissas, fail_exponent * k + live_exponent * (n - k))
    return cast(NDArray[np.float64], terms.sum(axis=0))


@lru_cache(maxsize=16)
def _choices(n: int) -> NDArray[np.float64]:
    """C(n,k) for k = 0..n, each from the one before in whole numbers."""
    row = [1]
    for k in range(n):
        row.append(row[k] * (n - k) // (k + 1))
    return np.array(row, dtype=np.float64)


# --- Uptime and outages -----------------------------------------------------------------------------------------------


class Outages(NamedTuple):
    """How a level is interrupted: fraction of time, how often (1/s), and for how long on average (s)."""

    unavailability: float
    per_second: float
    mean_s: float


def uptime_ratio(uptime_s: float, total_s: float) -> float:
    """uptime / total, both in seconds. Source: the document's "availability"."""
    if not (0 <= uptime_s <= total_s < math.inf and total_s > 0):
        raise ValueError(f"uptime {uptime_s} s of {total_s} s: it must be from 0 to the total, and the total above 0")
    return uptime_s / total_s


def steady_state_availability(mttf_s: float, mttr_s: float) -> float:
    """MTTF / (MTTF + MTTR), in any one unit: the long-run fraction of time for which one node is up.

    MTTF: mean time from repair to failure, MTTR: from failure to repair. True for any distributions with these means.
    Source: Barlow and Proschan, "Mathematical Theory of Reliability" (1965).
    """
    return mttf_s / (_seconds("MTTF", mttf_s) + _seconds("MTTR", mttr_s))


def outages(level: str, n: int, mttf_s: float, mttr_s: float, client: Client = Client.EVERY) -> Outages:
    """Outages of a level when n nodes fail and are repaired independently, with means MTTF and MTTR in seconds.

    An outage begins when a node fails that was needed. A client that tries every node with m nodes needed:
    frequency = P(exactly m alive) m / MTTF. A pinned one: its own node fails while the level is served, or one of the
    last m-1 others does. Mean duration = unavailability / frequency. Failover is not in it.
    Source: Billinton and Allan, "Reliability Evaluation of Engineering Systems" (1992), frequency and duration.
    """
    p = mttr_s / (_seconds("MTTF", mttf_s) + _seconds("MTTR", mttr_s))
    needed = _needed(level, n)
    last = range(n - needed, n - needed + 1)
    if client is Client.EVERY:
        failing = needed * _chance(n, last, p)
    else:
        own = level_availability(level, n, p, client)
        failing = own + (needed - 1) * (1 - p) * _chance(n - 1, last, p)
    if failing == 0:
        raise ValueError(f"level {level} of {n} nodes with MTTF {mttf_s} s, MTTR {mttr_s} s: too rare to be computed")
    unavailability = level_unavailability(level, n, p, client)
    return Outages(unavailability, failing / mttf_s, unavailability / failing * mttf_s)


def _seconds(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} {value} s: it must be above 0 and finite")
    return value


# --- Percentiles ------------------------------------------------------------------------------------------------------


def documented_percentile(sample: Sequence[float] | NDArray[np.float64], q: float) -> float:
    """The element at index round(q/100 (N-1)) of the sorted sample, half away from zero; unit as in the sample.

    Source: the document's "latency percentile". The rank is exact in the decimal q: in doubles, as the document's
    program computes, 29/100 * 50 is 14.499999999999998 and the half is lost.
    """
    return _ranked(sample, q, lambda share, count: math.floor(share * (count - 1) + Fraction(1, 2)))


def nearest_rank_percentile(sample: Sequence[float] | NDArray[np.float64], q: float) -> float:
    """The element at rank ceil(q/100 N), at least 1: the smallest that q percent of the sample do not exceed.

    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996), definition 1.
    """
    return _ranked(sample, q, lambda share, count: max(math.ceil(share * count), 1) - 1)


def _ranked(sample: Sequence[float] | NDArray[np.float64], q: float, index_of: Callable[[Fraction, int], int]) -> float:
    values = np.asarray(sample, dtype=np.float64)
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise ValueError("a percentile needs a list of numbers, at least one")
    if not 0 <= q <= 100:
        raise ValueError(f"percentile {q} is not from 0 to 100")
    index = index_of(Fraction(repr(float(q))) / 100, values.size)
    return float(np.partition(values, index)[index])


# --- Intervals and p-values of a proportion ---------------------------------------------------------------------------


class Interval(NamedTuple):
    """A confidence interval of a proportion."""

    low: float
    high: float


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """The exact interval: it covers the truth with at least `confidence`, whatever the truth is.

    low: P(X >= successes) = (1-confidence)/2; high: P(X <= successes) = the same. No trials: all of [0, 1].
    Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits" (1934).
    """
    _check_counts(successes, trials)
    tail = _tail_of(confidence)
    return Interval(_lower(successes, trials, tail), 1 - _lower(trials - successes, trials, tail))


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """The score interval: narrower; it covers the truth with `confidence` on average, not always.

    (x + z^2/2 ± z sqrt(x (n-x)/n + z^2/4)) / (n + z^2). Source: Wilson, "Probable Inference" (1927).
    """
    _check_counts(successes, trials)
    z = -NormalDist().inv_cdf(_tail_of(confidence))
    spread = z * math.sqrt(successes * (trials - successes) / max(trials, 1) + z * z / 4)
    low, high = ((successes + z * z / 2 + side) / (trials + z * z) for side in (-spread, spread))
    return Interval(0.0 if successes == 0 else low, 1.0 if successes == trials else high)


def familywise_confidence(confidence: float, cells: int) -> float:
    """The confidence for each of several intervals so that all hold together with `confidence`: 1 - (1-c)/cells.

    Bonferroni's bound; it needs no independence, and cells that share their trials are not independent.
    """
    if cells < 1:
        raise ValueError(f"{cells} cells: there must be at least one")
    return 1 - 2 * _tail_of(confidence) / cells


def binomial_p_value(successes: int, trials: int, p: float) -> float:
    """Two-sided exact p-value of the hypothesis that each trial succeeds with chance p.

    Twice the smaller of P(X <= successes) and P(X >= successes), at most 1: below 1-c exactly when p lies outside of
    `clopper_pearson` at confidence c. Relative error below 1e-8 up to a million trials.
    """
    _check_counts(successes, trials)
    if not 0 <= p <= 1:
        raise ValueError("a probability must be from 0 to 1")
    most, least = _tail(successes, trials, p, 1 - p), _tail(trials - successes, trials, 1 - p, p)
    return min(1.0, 2 * min(most, least))


def trials_for_width(width: float, confidence: float = 0.95, p: float = 0.5) -> int:
    """The smallest number of trials for which Wilson's interval is not wider than `width` when a share p succeeds.

    p = 0.5 is the worst case. Clopper-Pearson's interval needs more trials, by up to about 2/width.
    """
    if not 0 < width < 1 or not 0 <= p <= 1:
        raise ValueError(f"width {width}, p {p}: the width must be between 0 and 1, p from 0 to 1")
    z2 = NormalDist().inv_cdf(_tail_of(confidence)) ** 2
    spread = p * (1 - p)
    # width^2 (n + z^2)^2 = 4 z^2 (n p (1-p) + z^2/4), a quadratic in n with one positive root.
    middle = z2 * (2 * spread / width**2 - 1)
    n = max(1, math.floor(middle + math.sqrt(middle**2 + (z2 / width) ** 2 * (1 - width**2))))
    while 2 * math.sqrt(z2 * (n * spread + z2 / 4)) > width * (n + z2):
        n += 1
    return n


def _lower(successes: int, trials: int, tail: float) -> float:
    """The p at which P(X >= successes) = tail, by bisection down to neighbouring doubles; 0 for no successes."""
    low, high = 0.0, 1.0 if successes else 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if _tail(successes, trials, middle, 1 - middle) > tail else (middle, high)
    return low


def _tail(k: int, n: int, p: float, q: float) -> float:
    """P(X >= k) for X binomial with n trials of chance p = 1 - q: the terms from k on, if they shrink, or 1 - the rest.

    Logarithms for the first term only, because n is large here; each other one follows from the one before.
    """
    if k <= 0 or p == 1:
        return 1.0
    if p == 0:
        return 0.0
    if k < n * p:
        return 1 - _tail(n - k + 1, n, q, p)
    choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(min(0.0, choices + k * math.log(p) + (n - k) * math.log(q)))
    total = 0.0
    for j in range(k, n + 1):
        total += term
        if term < total * 1e-17:
            break
        term *= (n - j) / (j + 1) * (p / q)
    return min(1.0, total)


def _check_counts(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")


def _tail_of(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return (1 - confidence) / 2


# --- Strata -----------------------------------------------------------------------------------------------------------


class PostStratified(NamedTuple):
    """An estimate from strata: point, standard error, a conservative interval, and the weight that no trial reached."""

    estimate: float
    standard_error: float
    interval: Interval
    unreached: float


def post_stratified(
    weights: Sequence[float], successes: Sequence[int], trials: Sequence[int], confidence: float = 0.95
) -> PostStratified:
    """The overall success rate from strata of known weight W (summing to 1), each with its successes and trials.

    Estimate: sum W r over the strata with trials, divided by their weight, with r = successes / trials. Standard
    error: sqrt(sum W^2 r (1-r) / t) by the same weight. So the strata may be tried equally often, as when every subset
    of nodes is failed once, and the result holds for any p. The interval weighs Clopper-Pearson's of each stratum,
    corrected for their number; what no trial reached counts as anything from 0 to 1.
    Source: Cochran, "Sampling Techniques" (1977), chapter 5A.
    """
    share = np.asarray(weights, dtype=np.float64)
    if not len(weights) == len(successes) == len(trials) > 0:
        raise ValueError("weights, successes and trials must be of one length, at least 1")
    if not (np.all(share >= 0) and math.isclose(share.sum(), 1, rel_tol=1e-9)):
        raise ValueError("weights must not be negative and must sum to 1")
    each = familywise_confidence(confidence, len(share))
    bounds = np.array([clopper_pearson(x, t, each) for x, t in zip(successes, trials, strict=True)])
    low, high = np.clip(share @ bounds, 0, 1)
    reached = np.asarray(trials) > 0
    covered = float(share[reached].sum())
    if covered == 0:
        raise ValueError("no stratum with a weight has trials")
    count = np.asarray(trials)[reached]
    rate = np.asarray(successes)[reached] / count
    weight = share[reached] / covered
    error = math.sqrt(float((weight**2 * rate * (1 - rate) / count).sum()))
    unreached = float(share[~reached].sum())
    return PostStratified(float(weight @ rate), error, Interval(float(low), float(high)), unreached)

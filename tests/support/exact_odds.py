"""The odds in exact fractions, from first principles: every subset of nodes that may be down, or one node at a time.

Written without looking at kvstore/availability.py: nothing here knows a binomial coefficient. A double is an exact
fraction, so the results are exact for the very p that the code under test is given.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

Up = tuple[bool, ...]


def subsets(n: int, p: Fraction) -> list[tuple[Up, Fraction]]:
    """Every combination of nodes up and down, with its chance."""
    found = []
    for up in product((True, False), repeat=n):
        chance = Fraction(1)
        for alive in up:
            chance *= 1 - p if alive else p
        found.append((up, chance))
    return found


def chance_that(served: Callable[[Up], bool], n: int, p: Fraction) -> Fraction:
    """The chance of the combinations for which `served` holds."""
    return sum((chance for up, chance in subsets(n, p) if served(up)), Fraction(0))


def failures(n: int, p: Fraction) -> list[Fraction]:
    """The chance of 0, 1, ... n failures, by adding one node after the other; whole numbers over one denominator."""
    fail, live = p.numerator, p.denominator - p.numerator
    weights = [1]
    for _ in range(n):
        weights = [live * stays + fail * grows for stays, grows in zip([*weights, 0], [0, *weights], strict=True)]
    return [Fraction(weight, p.denominator**n) for weight in weights]


def is_served(level: str, pinned: bool) -> Callable[[Up], bool]:
    """What a level needs, in words: a node, more than half of them, all; and the first one, if the client is pinned."""

    def served(up: Up) -> bool:
        if pinned and not up[0]:
            return False
        if level == "one":
            return any(up)
        if level == "quorum":
            return 2 * sum(up) > len(up)
        return all(up)

    return served

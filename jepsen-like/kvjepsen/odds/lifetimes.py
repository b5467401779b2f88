"""When nodes fail and come back, each by its own exponential clock, and which levels that leaves without nodes. Pure.

A schedule begins in the steady state: each node is down at first with chance MTTR / (MTTF + MTTR), and because the
clocks have no memory the first wait is like all others. So the shares and frequencies of `kvstore.availability` are the
expectations of every schedule, however short.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from kvjepsen.odds.plan import names, predicted


class Lives(NamedTuple):
    """n nodes with these mean times to failure and to repair, watched for so many seconds."""

    n: int
    mttf_s: float
    mttr_s: float
    seconds: float
    seed: int

    @property
    def p(self) -> float:
        """The chance that a node is down."""
        return self.mttr_s / (self.mttf_s + self.mttr_s)


class Change(NamedTuple):
    """A node fails, or is repaired, so many seconds after the beginning. Before its first one it is up."""

    at_s: float
    node: str
    up: bool


class Down(NamedTuple):
    """An outage: too few nodes were alive from then to then."""

    since_s: float
    until_s: float


def draw(lives: Lives) -> list[Change]:
    """The schedule, in its order. It depends on `lives` alone, and each node's on none of the others."""
    changes = []
    for name in names(lives.n):
        rng = random.Random(f"lives {lives.seed} {lives.n} {name}")
        at_s, up = 0.0, rng.random() >= lives.p
        if not up:
            changes.append(Change(0.0, name, up=False))
        while (at_s := at_s + rng.expovariate(1 / (lives.mttf_s if up else lives.mttr_s))) < lives.seconds:
            up = not up
            changes.append(Change(at_s, name, up))
    return sorted(changes)


def outages(changes: Sequence[Change], level: str, n: int, seconds: float) -> list[Down]:
    """When `changes` leave too few nodes for `level`. What lasts no time is none."""
    found: list[Down] = []
    failed, since_s = 0, None
    for change in changes:
        failed += -1 if change.up else 1
        served = predicted(level, n, failed)
        if not served and since_s is None:
            since_s = change.at_s
        elif served and since_s is not None:
            if change.at_s > since_s:
                found.append(Down(since_s, change.at_s))
            since_s = None
    return found if since_s is None else [*found, Down(since_s, seconds)]

"""Which trials are made, and what each must show. Pure.

A trial fails a subset of n nodes, with the leader inside of it or outside, and asks for one write at each level. Every
trial has an id that says all about it, so that results of several runs add up and none is made twice.

What must be served depends on how many nodes are alive, not on which, nor on who led: ONE needs one, QUORUM a majority,
ALL each of them.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Final, Literal, NamedTuple

from kvstore.availability import majority

Fault = Literal["kill", "pause", "isolate"]
FAULTS: Final[tuple[Fault, ...]] = ("kill", "pause", "isolate")
LEVELS: Final = ("one", "quorum", "all")


class Trial(NamedTuple):
    """`failed` are names like those of a cluster, in order. `p` and `number`: of a drawn trial, None and 0 else."""

    n: int
    failed: tuple[str, ...]
    leader_failed: bool
    p: float | None = None
    number: int = 0

    @property
    def id(self) -> str:
        """Unique among all trials with one seed and one fault."""
        if self.p is not None:
            return f"n{self.n}/p{self.p!r}/{self.number}"
        return f"n{self.n}/{'+'.join(self.failed) or 'none'}/leader-{'in' if self.leader_failed else 'out'}"


def names(n: int) -> tuple[str, ...]:
    """The nodes of a cluster of n."""
    return tuple(f"n{number}" for number in range(1, n + 1))


def predicted(level: str, n: int, failures: int) -> bool:
    """Whether a client that tries every node is served at `level` while `failures` of n nodes are down."""
    needed = {"one": 1, "quorum": majority(n), "all": n}[level]
    return n - failures >= needed


def documented(n: int, failures: int) -> bool:
    """What the documented formula counts as consistent: fewer than a majority have failed."""
    return failures < majority(n)


def exhaustive(n: int) -> list[Trial]:
    """Every subset of n nodes, with the leader inside and outside, where it can be: 2 (2^n - 1) trials."""
    every = names(n)
    return [
        Trial(n, failed, inside)
        for size in range(n + 1)
        for failed in combinations(every, size)
        for inside in (False, True)
        if (failed if inside else size < n)
    ]


def drawn(n: int, p: float, number: int, seed: int) -> Trial:
    """A trial in which each node fails with chance p, and each is as likely as the others to lead."""
    rng = random.Random(f"odds {seed} {n} {p!r} {number}")
    failed = tuple(name for name in names(n) if rng.random() < p)
    return Trial(n, failed, rng.choice(names(n)) in failed, p, number)


def plan(nodes: Iterable[int], ps: Sequence[float], trials: int, seed: int, *, every: bool) -> list[Trial]:
    """What is to be done: all subsets if `every`, then `trials` drawn ones for each p, for each number of nodes."""
    return list(_plan(sorted(set(nodes)), ps, trials, seed, every=every))


def _plan(nodes: list[int], ps: Sequence[float], trials: int, seed: int, *, every: bool) -> Iterator[Trial]:
    if every:
        for n in nodes:
            yield from exhaustive(n)
    # One of each cell after the other: a run that ends early has tried all cells alike.
    for number in range(trials):
        for p in ps:
            for n in nodes:
                yield drawn(n, p, number, seed)

"""How fresh the state of a member is, without asking anybody: what reads at level ONE with a bound go by.

The leader tells with every append its commit index, and how long ago a majority had last confirmed it (`majority_age`):
nothing can have been acknowledged before that moment that this commit index does not cover. How long the message was on
its way nobody knows, so the leader also returns the follower's own clock, as told in the last answer that it got (the
echo). The message is no older than that:

    fresh as of  =  echo - majority_age        by the follower's clock, once the commit index told is applied

A delayed message is therefore never taken for a fresh one. Clocks need not agree, only to run at the same pace.

The clock travels as a token that begins at a random number with each process, so that an echo meant for an earlier
process is not taken for one of this.
"""

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

UNCONFIRMED_US: Final = (1 << 62) - 1
"""A `majority_age` that says: not confirmed in this term, or nothing of this term is committed."""

_TOLD_MAX: Final = 64


class TokenClock:
    """This process's monotonic clock as tokens that mean something to it alone."""

    def __init__(self, start_s: float, base: int) -> None:
        self._start_s = start_s
        self._base = base

    def token(self, now_s: float) -> int:
        """The token of `now_s`, in microseconds above a random base."""
        return self._base + int((now_s - self._start_s) * 1e6)

    def seconds(self, token: int, now_s: float) -> float | None:
        """When `token` was made, or None if this process never made it."""
        elapsed_us = token - self._base
        if not 0 <= elapsed_us <= (now_s - self._start_s) * 1e6 + 1:
            return None
        return self._start_s + elapsed_us / 1e6


class Freshness:
    """A follower's book: what the leader told, until it is applied. Bounded; what is left out only makes it staler."""

    def __init__(self) -> None:
        self._told: deque[tuple[int, float]] = deque()
        self._as_of_s = float("-inf")

    def told(self, commit_index: int, as_of_s: float) -> None:
        """Once `commit_index` is applied, the state is fresh as of `as_of_s`."""
        told = self._told
        while told and told[-1][0] >= commit_index and told[-1][1] <= as_of_s:
            told.pop()
        if len(told) < _TOLD_MAX:
            told.append((commit_index, as_of_s))

    def as_of(self, applied_index: int) -> float:
        """As of when the state is fresh, in monotonic seconds; minus infinity if that is not known."""
        told = self._told
        while told and told[0][0] <= applied_index:
            self._as_of_s = max(self._as_of_s, told.popleft()[1])
        return self._as_of_s


class Fresher:
    """Who waits for the applied state to become fresh enough. Those who are content with less come first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._given_up: set[Callable[[], None]] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, than_s: float, done: Callable[[], None]) -> None:
        """Let `done` be `due` once the state is at most `than_s` old."""
        self._count += 1
        heappush(self._heap, (-than_s, self._count, done))

    def forget(self, done: Callable[[], None]) -> None:
        """Nobody waits for that any more. Cleared away once such are half of all."""
        self._given_up.add(done)
        if 2 * len(self._given_up) > len(self._heap):
            self._heap = [waiting for waiting in self._heap if waiting[2] not in self._given_up]
            heapify(self._heap)
            self._given_up.clear()

    def due(self, staleness_s: float) -> list[Callable[[], None]]:
        """Those whose wish is met, taken out."""
        met = []
        while self._heap and staleness_s <= -self._heap[0][0]:
            done = heappop(self._heap)[2]
            if done in self._given_up:
                self._given_up.discard(done)
            else:
                met.append(done)
        return met

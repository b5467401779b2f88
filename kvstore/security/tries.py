"""How often passwords may be tried: for one user from one address, and from one address at all.

Never for one user alone, from wherever: whoever likes could then lock anybody out. Each of both is a bucket of tries
that fills up again with time. A try that succeeds is given back. What is remembered is bounded: the oldest goes first.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from kvstore import limits
from kvstore.errors import TooManyTries


class _Bucket(NamedTuple):
    tries_max: int
    every_s: float


_PAIR = _Bucket(limits.LOGIN_TRIES_MAX, limits.LOGIN_TRY_EVERY_S)
_ADDRESS = _Bucket(limits.LOGIN_ADDRESS_TRIES_MAX, limits.LOGIN_ADDRESS_TRY_EVERY_S)


class Tries:
    """`now`: monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # (user, address), or ("", address) -> when the bucket would be full again.
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def take(self, user: str, address: str) -> None:
        """One try. Raises TooManyTries, with the time after which there is one again."""
        wait_s = max(self._wait_s((user, address), _PAIR), self._wait_s(("", address), _ADDRESS))
        if wait_s > 0:
            raise TooManyTries(
                "passwords were tried too often for this user, or from this address", retry_after_s=wait_s
            )
        self._add((user, address), _PAIR.every_s)
        self._add(("", address), _ADDRESS.every_s)

    def give_back(self, user: str, address: str) -> None:
        """That one was good: it does not count."""
        self._full_at.pop((user, address), None)
        if ("", address) in self._full_at:
            self._full_at["", address] -= _ADDRESS.every_s

    def __len__(self) -> int:
        return len(self._full_at)

    def _wait_s(self, whose: tuple[str, str], bucket: _Bucket) -> float:
        owed_s = self._full_at.get(whose, 0.0) - self._now()
        return owed_s - (bucket.tries_max - 1) * bucket.every_s

    def _add(self, whose: tuple[str, str], every_s: float) -> None:
        self._full_at[whose] = max(self._full_at.get(whose, 0.0), self._now()) + every_s
        self._full_at.move_to_end(whose)
        while len(self._full_at) > limits.LOGIN_TRIES_KEPT_MAX:
            self._full_at.popitem(last=False)

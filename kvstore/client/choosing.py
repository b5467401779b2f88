"""Which endpoint a request is sent to first. Where it goes after a failure is the next one, going around (retry.py).

Without an algorithm a client stays with the endpoint that answered last, and leaves it when it fails: one connection,
and no surprise. With one of `kvstore.balancing` each request is placed anew, among the endpoints that are well:

1. An endpoint is set aside when an attempt there failed for a reason of its own (no connection, a silence, a refusal
   that another endpoint might not give): for ENDPOINT_ASIDE_S_MIN, doubled with each further failure in a row up to
   ENDPOINT_ASIDE_S_MAX. An answer about the request itself (absent, a condition that failed) is an answer.
2. When that time is over, one request tries it: until that one has ended, others go elsewhere for as long again.
3. An answer ends all this.
"""

import socket
from collections.abc import Mapping, Sequence

from kvstore import limits
from kvstore.balancing import ALGORITHMS, Balancer, Node


class Choice:
    """The endpoints as one client sees them: how many of its requests are at each, and which are well."""

    def __init__(
        self,
        endpoints: Sequence[str],
        balance: str | Balancer | None = None,
        weights: Mapping[str, int] | None = None,
        address: str | None = None,
    ) -> None:
        """`balance`: a name of ALGORITHMS, or an object of one's own. Raises ValueError for a name or endpoint that is
        not known, for weights without an algorithm, and for a weight that is no whole number from 0 up.
        """
        self.endpoints = tuple(endpoints)
        self._balancer = _balancer(balance, address)
        self._weights = _weights(self.endpoints, weights or {}, chosen=balance is not None)
        self._preferred = 0
        self._open = [0] * len(self.endpoints)
        self._failures = [0] * len(self.endpoints)
        self._aside_until = [0.0] * len(self.endpoints)

    def first(self, now: float) -> int:
        """Where a request begins."""
        if self._balancer is None:
            return self._preferred
        nodes = [
            Node(endpoint, weight, until <= now, count)
            for endpoint, weight, until, count in zip(
                self.endpoints, self._weights, self._aside_until, self._open, strict=True
            )
        ]
        index = self._balancer.choose(nodes)
        if self._failures[index]:
            self._set_aside(index, now)
        return index

    def begun(self, index: int) -> None:
        """An attempt is made there; `ended` follows."""
        self._open[index] += 1

    def ended(self, index: int) -> None:
        """An attempt there has ended, however."""
        self._open[index] -= 1

    def answered(self, index: int) -> None:
        """The endpoint did what was asked, or said what is wrong with the request."""
        self._preferred = index
        self._failures[index] = 0
        self._aside_until[index] = 0.0

    def failed(self, index: int, now: float) -> None:
        """An attempt there failed for a reason of the endpoint's own."""
        if self._preferred == index:
            self._preferred = (index + 1) % len(self.endpoints)
        self._failures[index] += 1
        self._set_aside(index, now)

    def _set_aside(self, index: int, now: float) -> None:
        doublings = min(self._failures[index] - 1, 10)
        aside_s = min(limits.ENDPOINT_ASIDE_S_MIN * 2.0**doublings, limits.ENDPOINT_ASIDE_S_MAX)
        self._aside_until[index] = now + aside_s


def _balancer(balance: str | Balancer | None, address: str | None) -> Balancer | None:
    if not isinstance(balance, str):
        return balance
    if balance not in ALGORITHMS:
        raise ValueError(f"no algorithm is called {balance!r}; there are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[balance](socket.gethostname() if address is None else address)


def _weights(endpoints: tuple[str, ...], weights: Mapping[str, int], *, chosen: bool) -> list[int]:
    if weights and not chosen:
        raise ValueError("weights are for an algorithm: name one with balance=")
    strangers = [endpoint for endpoint in weights if endpoint not in endpoints]
    if strangers:
        raise ValueError(f"a weight is given for {strangers[0]!r}, which is no endpoint of this client")
    if any(type(weight) is not int or weight < 0 for weight in weights.values()):
        raise ValueError("a weight is a whole number, 0 or more")
    return [weights.get(endpoint, 1) for endpoint in endpoints]

"""Which node gets the next request: round robin, least connections, smooth weighted round robin, rendezvous hash.

Pure: no clock, no socket, no chance. Each algorithm is a function of the nodes and of what it remembered of its last
choice, and a small object that remembers it. The same nodes in the same order give the same choices, always.

All of them choose among the `candidates`: nodes that are alive and have a weight; where there is none, those that are
alive; where nobody is, whoever there is, for a node that is believed dead may have come back. So weight 0 means "only
if there is no other", as an operator who drains a node means it.

What was wrong with the usual simple forms stands in docs/python-client.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

_HASH_RANGE: Final = float(1 << 64)


class Node(NamedTuple):
    """What a choice depends on. `name` is unique among the nodes; `weight` is 0 or more; `connections` those in use."""

    name: str
    weight: int = 1
    alive: bool = True
    connections: int = 0


class Balancer(Protocol):
    """Chooses one node after the other."""

    def choose(self, nodes: Sequence[Node]) -> int:
        """The place in `nodes` of the one chosen. Raises ValueError where there are none."""
        ...


def candidates(nodes: Sequence[Node]) -> list[int]:
    """The places of those that may be chosen, in order. Raises ValueError for no nodes, or a negative weight."""
    if not nodes:
        raise ValueError("there is no node to choose")
    if any(node.weight < 0 for node in nodes):
        raise ValueError("a weight is 0 or more")
    alive = [place for place, node in enumerate(nodes) if node.alive] or list(range(len(nodes)))
    return [place for place in alive if nodes[place].weight] or alive


def round_robin(nodes: Sequence[Node], last: int) -> int:
    """The first candidate behind place `last`, going around (-1: from the beginning)."""
    places = candidates(nodes)
    return next((place for place in places if place > last), places[0])


def least_connections(nodes: Sequence[Node], last: int) -> int:
    """The candidate whose connections, with this one, are fewest for its weight; of equals, the first behind `last`.

    Without the turn among equals, an idle cluster would get every request at its first node.
    """
    count = len(nodes)
    return min(
        candidates(nodes),
        key=lambda place: (
            (nodes[place].connections + 1) / max(nodes[place].weight, 1),
            (place - last - 1) % count,
        ),
    )


def smooth_weighted(nodes: Sequence[Node], credit: Mapping[str, int]) -> tuple[int, dict[str, int]]:
    """The candidate with the most credit, and the credit of all candidates afterwards; `credit` is empty at first.

    Each gets its weight as credit; who is chosen pays the weights of all. So over as many choices as the weights sum up
    to, each node is chosen exactly as often as its weight, and its turns are spread, not in a row (the algorithm of
    nginx's upstreams).
    """
    places = candidates(nodes)
    weights = {place: max(nodes[place].weight, 1) for place in places}
    after = {nodes[place].name: credit.get(nodes[place].name, 0) + weights[place] for place in places}
    chosen = max(places, key=lambda place: (after[nodes[place].name], -place))
    after[nodes[chosen].name] -= sum(weights.values())
    return chosen, after


def rendezvous(nodes: Sequence[Node], address: bytes) -> int:
    """The candidate with the highest score for `address`: highest random weight (Thaler and Ravishankar, 1998), with
    weights by the logarithmic method (Schindelhauer and Schomaker, 2005).

    A score depends on its own node alone. So a node that comes takes over its share of addresses and moves no others,
    and one that goes moves only those that it had.
    """

    def score(place: int) -> tuple[float, str]:
        node = nodes[place]
        name = node.name.encode()
        digest = blake2b(b"%d:%b%b" % (len(name), name, address), digest_size=8).digest()
        # In (0, 1], so that the logarithm is finite.
        share = (int.from_bytes(digest, "big") + 1) / _HASH_RANGE
        return (max(node.weight, 1) / -math.log(share) if share < 1 else math.inf), node.name

    return max(candidates(nodes), key=score)


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, nodes: Sequence[Node]) -> int:
        self._last = round_robin(nodes, self._last)
        return self._last


class LeastConnections:
    """Whoever has least to do."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, nodes: Sequence[Node]) -> int:
        self._last = least_connections(nodes, self._last)
        return self._last


class SmoothWeighted:
    """One after the other, each as often as its weight."""

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def choose(self, nodes: Sequence[Node]) -> int:
        chosen, self._credit = smooth_weighted(nodes, self._credit)
        return chosen


class Rendezvous:
    """Always the same for one client, as far as it is there."""

    def __init__(self, address: str) -> None:
        self._address = address.encode("utf-8", "surrogateescape")

    def choose(self, nodes: Sequence[Node]) -> int:
        return rendezvous(nodes, self._address)


ALGORITHMS: Final[Mapping[str, Callable[[str], Balancer]]] = {
    "round_robin": lambda address: RoundRobin(),
    "least_connections": lambda address: LeastConnections(),
    "weighted": lambda address: SmoothWeighted(),
    "hash": Rendezvous,
}
"""By name; each is made for the address of the client that will use it."""

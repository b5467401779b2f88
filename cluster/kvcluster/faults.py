"""Faults on the links of a cluster that has link proxies: partitions, resets, delays, and their end.

    cluster = bring_up(directory, 3, proxy=True)
    partition(cluster.topology, "n1|n2,n3")
    heal(cluster.topology)

A fault adds to those that are there; `heal` ends all. Clients are not concerned: they talk to the nodes directly.
"""

import json
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from kvcluster.partition import Pair, cut_pairs, parse_groups
from kvcluster.topology import PROXIES, Topology, socket_path
from kvstore.errors import LocalError

_ANSWER_S_MAX: Final = 10.0


class NoProxies(LocalError):
    """The cluster has no link proxies, or they do not answer."""

    exit_code = 4


def partition(
    topology: Topology,
    groups: str,
    *,
    one_way: bool = False,
    reset: bool = False,
    resolve: Callable[[str], str] = lambda name: name,
) -> list[Pair]:
    """Cut the nodes of each group off from those of the others; the links that were cut.

    They are stalled: connections stay up and what is sent meanwhile arrives after healing. `reset`: connections are
    reset and refused instead. `one_way`: only what a group sends to groups right of it is cut. For `groups` and
    `resolve` see kvcluster.partition. Raises BadPartition, UnknownNode, NoProxies.
    """
    pairs = cut_pairs(parse_groups(groups, lambda word: topology.node(resolve(word)).name), one_way=one_way)
    _order(topology, "reset" if reset else "stall", pairs)
    return pairs


def delay(topology: Topology, pairs: Sequence[Pair] | None, milliseconds: float) -> None:
    """Let everything on these links, or on all, take so much longer, in each direction. Raises NoProxies."""
    _order(topology, "delay", pairs, ms=milliseconds)


def heal(topology: Topology) -> None:
    """End every fault on every link; what was stalled arrives. Raises NoProxies."""
    _order(topology, "heal", None)


def faulty_links(topology: Topology) -> list[dict[str, Any]]:
    """The links that are not as they should be: `from`, `to`, `state`, `delay_ms`. Raises NoProxies."""
    links = _order(topology, "show", None)
    return [
        {name: link[name] for name in ("from", "to", "state", "delay_ms")}
        for link in links
        if link["state"] != "open" or link["delay_ms"]
    ]


def link_counts(topology: Topology) -> dict[str, int]:
    """What all links have done since they were started: `resets_total`, `held_bytes_total`. Raises NoProxies."""
    links = _order(topology, "show", None)
    return {name: sum(link[name] for link in links) for name in ("resets_total", "held_bytes_total")}


def stall(topology: Topology, pairs: Sequence[Pair] | None) -> None:
    """Let nothing pass on these links, or on all: it arrives after healing. Raises NoProxies."""
    _order(topology, "stall", pairs)


def reset(topology: Topology, pairs: Sequence[Pair] | None) -> None:
    """Reset the connections of these links, or of all, and refuse new ones. Raises NoProxies."""
    _order(topology, "reset", pairs)


def _order(
    topology: Topology,
    what: Literal["stall", "reset", "heal", "delay", "show"],
    pairs: Sequence[Pair] | None,
    **more: float,
) -> list[dict[str, Any]]:
    if not topology.links:
        raise NoProxies(f"the cluster in {topology.directory} has no link proxies; start a new one with --proxy")
    try:
        answer = _ask(topology, {"do": what, "links": pairs, **more})
    except (OSError, ValueError) as failed:
        raise NoProxies(f"the link proxies of {topology.directory} do not answer: {failed}") from failed
    if "error" in answer:
        raise NoProxies(f"the link proxies of {topology.directory} refuse: {answer['error']}")
    links: list[dict[str, Any]] = answer["links"]
    return links


def _ask(topology: Topology, order: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_ANSWER_S_MAX)
        with socket_path(topology.home(PROXIES)) as path:
            asking.connect(path)
        asking.sendall(json.dumps(order).encode() + b"\n")
        with asking.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer

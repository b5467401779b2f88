"""Whether all nodes hold the same: equal digests at an equal applied index."""

import asyncio
import time
from typing import Any, Final, NamedTuple

from kvcluster import probe
from kvcluster.supervisor import Cluster

_POLL_S: Final = 0.05


class Convergence(NamedTuple):
    """At `applied_index`, every node's digest was `digest`."""

    applied_index: int
    digest: str


class NotConverged(Exception):
    """Two digests differ at one index, or there was no index for which all nodes had told theirs in time."""


async def converge(cluster: Cluster, timeout_s: float = 30.0) -> Convergence:
    """Wait until all nodes have told digests for one index at or above what is committed now. Raises NotConverged.

    The load must have ended. Every digest told on the way is compared too.
    """
    nodes = cluster.topology.nodes
    deadline = time.monotonic() + timeout_s
    seen: dict[int, dict[str, str]] = {}
    floor: int | None = None
    while True:
        answers = await asyncio.gather(*(asyncio.to_thread(probe.cluster_view, node) for node in nodes))
        views = [view for view in answers if view is not None]
        if floor is None and views:
            floor = max(int(view["commit_index"]) for view in views)
        for view in views:
            _note(view, seen)
        for index, values in seen.items():
            if floor is not None and index >= floor and len(values) == len(nodes):
                return Convergence(index, next(iter(values.values())))
        if time.monotonic() >= deadline:
            raise NotConverged(f"no common digest at or above index {floor} after {timeout_s:g} s; told: {seen}")
        await asyncio.sleep(_POLL_S)


def _note(view: dict[str, Any], seen: dict[int, dict[str, str]]) -> None:
    for member in view["members"]:
        if member["digest"] is None:
            continue
        index = int(member["digest"]["index"])
        values = seen.setdefault(index, {})
        if values.setdefault(member["name"], member["digest"]["value"]) != member["digest"]["value"]:
            raise NotConverged(f"{member['name']} told two digests for index {index}")
        if len(set(values.values())) > 1:
            raise NotConverged(f"digests differ at index {index}: {values}")

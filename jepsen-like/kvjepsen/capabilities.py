"""What can be done to a cluster on this machine: asked before a run, printed, and kept in its report.

What cannot be injected is skipped, and reported as skipped, never as passed.
"""

from enum import StrEnum
from typing import NamedTuple

from kvcluster.supervisor import Cluster


class Need(StrEnum):
    """What a fault needs. `Capability.why` says why it is not there."""

    PROCESSES = "processes"  # the nodes are ours to stop and start
    LINKS = "links"  # proxies stand between them
    ORDERS = "orders"  # they run as kvjepsen.faulty


class Capability(NamedTuple):
    """`why` it is not available; empty if it is."""

    name: Need
    available: bool
    why: str


def probe(cluster: Cluster | None, *, orders: bool) -> list[Capability]:
    """What is there for `cluster`, None for one that is not ours to stop and start."""
    strange = "the cluster was not started by this run" if cluster is None else ""
    no_links = strange or ("" if cluster is not None and cluster.topology.links else "a cluster of one has no links")
    no_orders = strange or ("" if orders else "the nodes run as they are published")
    reasons = {
        Need.PROCESSES: strange,
        Need.LINKS: no_links,
        Need.ORDERS: no_orders,
    }
    return [Capability(need, not why, why) for need, why in reasons.items()]


def missing(capabilities: list[Capability], needs: frozenset[Need]) -> str:
    """Why a fault with these needs cannot be injected; empty if it can."""
    there = {capability.name: capability for capability in capabilities}
    return "; ".join(sorted({there[need].why for need in needs if not there[need].available}))

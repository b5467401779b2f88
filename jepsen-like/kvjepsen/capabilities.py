"""What can be done to a cluster on this machine: asked before a run, printed, and kept in its report.

What cannot be injected is skipped, and reported as skipped, never as passed.
"""

import os
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from kvcluster.image import Image, MountFailed
from kvcluster.packets import Loss, PacketsFailed
from kvcluster.supervisor import Cluster


class Need(StrEnum):
    """What a fault needs. `Capability.why` says why it is not there."""

    PROCESSES = "processes"  # the nodes are ours to stop and start
    LINKS = "links"  # proxies stand between them
    ORDERS = "orders"  # they run as kvjepsen.faulty
    MOUNTS = "mounts"  # file systems in images can be mounted
    UNSYNCED = "unsynced"  # what is not synced can be lost: with an image, or by nodes that hold it back
    PACKETS = "packets"  # nftables can drop packets


class Capability(NamedTuple):
    """`why` it is not available; empty if it is."""

    name: Need
    available: bool
    why: str


def probe(cluster: Cluster | None, *, obeys: bool = True) -> list[Capability]:
    """What is there for `cluster`, None for one that is not ours to stop and start. `obeys`: as kvjepsen.faulty."""
    strange = "the cluster was not started by this run" if cluster is None else ""
    no_links = strange or ("" if cluster is not None and cluster.topology.links else "a cluster of one has no links")
    no_orders = strange or ("" if obeys else "another program than kv takes no orders")
    mounts = no_mounts()
    reasons = {
        Need.PROCESSES: strange,
        Need.LINKS: no_links,
        Need.ORDERS: no_orders,
        Need.MOUNTS: strange or (_instead(mounts) if obeys else mounts),
        Need.UNSYNCED: strange or (mounts and no_orders),
        Need.PACKETS: strange or no_nft(),
    }
    return [Capability(need, not why, why) for need, why in reasons.items()]


def _instead(why: str) -> str:
    return why and f"{why}; power is lost by nodes that hold back what is not synced"


def no_mounts() -> str:
    """Why no image can be mounted here: it is tried."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is not installed"
    with tempfile.TemporaryDirectory(prefix="kv-mount-") as directory:
        image = Image(Path(directory) / "image", 16 << 20)
        try:
            image.make()
            image.mount(Path(directory))
            image.unmount(Path(directory))
        except MountFailed as failed:
            return str(failed)
    return ""


def no_nft() -> str:
    """Why packets cannot be dropped: it is tried, at a port that nobody uses."""
    if os.geteuid() != 0:
        return "nftables needs root"
    if shutil.which("nft") is None:
        return "nftables is not installed"
    try:
        loss = Loss([9], 1)
        loss.begin()
        loss.end()
    except PacketsFailed as failed:
        return str(failed)
    return ""


def missing(capabilities: list[Capability], needs: frozenset[Need]) -> str:
    """Why a fault with these needs cannot be injected; empty if it can."""
    there = {capability.name: capability for capability in capabilities}
    return "; ".join(sorted({there[need].why for need in needs if not there[need].available}))

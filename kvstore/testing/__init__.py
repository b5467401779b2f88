"""A test kit: a whole cluster on virtual time, a simulated network and simulated disks, decided by one seed.

`SimCluster` runs the real nodes; `Invariants` says what must hold at every moment; `SimDisk`, `SimNetwork` and
`VirtualTime` can be used alone.
"""

from kvstore.testing.cluster import NodeFailed, SimCluster
from kvstore.testing.invariants import InvariantBroken, Invariants
from kvstore.testing.sim_disk import KEPT, LOST, PowerLoss, SimDisk
from kvstore.testing.sim_loop import NothingLeft, OutOfTime, SimClock, SimLoop, VirtualTime
from kvstore.testing.sim_network import SimNetwork

__all__ = [
    "KEPT",
    "LOST",
    "InvariantBroken",
    "Invariants",
    "NodeFailed",
    "NothingLeft",
    "OutOfTime",
    "PowerLoss",
    "SimClock",
    "SimCluster",
    "SimDisk",
    "SimLoop",
    "SimNetwork",
    "VirtualTime",
]

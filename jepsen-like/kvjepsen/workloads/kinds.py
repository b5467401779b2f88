"""All workloads by name."""

from typing import Final

from kvjepsen.workloads.append import Append
from kvjepsen.workloads.bank import Bank
from kvjepsen.workloads.counter import Counters
from kvjepsen.workloads.lease import LeasedKeys
from kvjepsen.workloads.levels import Levels
from kvjepsen.workloads.lock import Locks
from kvjepsen.workloads.mixed import Mixed
from kvjepsen.workloads.register import Register
from kvjepsen.workloads.set_ import Sets
from kvjepsen.workloads.watch import Watchers
from kvjepsen.workloads.workload import Workload

_ALL: Final[tuple[type[Workload], ...]] = (
    Register,
    Sets,
    Append,
    Counters,
    Levels,
    Mixed,
    Bank,
    Watchers,
    Locks,
    LeasedKeys,
)

WORKLOADS: Final[dict[str, type[Workload]]] = {workload.name: workload for workload in _ALL}

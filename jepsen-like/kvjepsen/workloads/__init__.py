"""What clients do while the cluster is broken: one workload a file, all of them in `WORKLOADS`.

To add one: a class with `work`, which makes one operation and records it, and `checks`, which says what must hold;
and its name in `kinds.py`.
"""

from collections.abc import Iterable, Sequence

from kvjepsen.workloads.kinds import WORKLOADS
from kvjepsen.workloads.workload import DOORS, HTTP, REDIS, Arena, Workload

__all__ = ["DOORS", "HTTP", "REDIS", "WORKLOADS", "Arena", "Workload", "speaking"]


def speaking(names: Iterable[str], doors: Sequence[str]) -> tuple[str, ...]:
    """Those of the workloads that can use one of the doors at least."""
    return tuple(name for name in names if set(WORKLOADS[name].speaks) & set(doors))

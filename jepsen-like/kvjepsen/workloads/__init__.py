"""What clients do while the cluster is broken: one workload a file, all of them in `WORKLOADS`.

To add one: a class with `work`, which makes one operation and records it, and `checks`, which says what must hold;
and its name in `kinds.py`.
"""

from kvjepsen.workloads.kinds import WORKLOADS
from kvjepsen.workloads.workload import Arena, Workload

__all__ = ["WORKLOADS", "Arena", "Workload"]

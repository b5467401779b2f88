"""What is done to a cluster to break it: one kind of fault a file, all of them in `FAULTS`, and who inflicts them.

nemesis = Nemesis(Field(cluster, random.Random(7)))
await nemesis.run(("kill", "pause"), (0.5, 2.0), stop)
"""

from kvjepsen.nemesis.driver import Injury, Nemesis, cannot_overlap, parts
from kvjepsen.nemesis.fault import Fault, Field
from kvjepsen.nemesis.kinds import FAULTS

__all__ = ["FAULTS", "Fault", "Field", "Injury", "Nemesis", "cannot_overlap", "parts"]

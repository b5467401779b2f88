"""The node's hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014).

It never goes back and never gives the same value twice. It runs with the wall clock, and jumps ahead of it to whatever
it hears of:

- what this node applies, wholly: a write made here afterwards must be above it, however slow this clock is;
- what peers and clients tell, at most the replicated drift ahead of the wall clock: they may be wrong, or hostile.

What makes it survive a restart is that its values are in snapshots, in the log and in the intent log (`resume_clock`).
"""

from collections.abc import Callable

from kvstore.clock import Clock
from kvstore.consensus.raft import REGULAR
from kvstore.limits import STAMP_COUNTER_TOLD_MAX
from kvstore.model import commands
from kvstore.model.stamp import Stamp
from kvstore.node.boot import Opened


class HybridClock:
    """`drift_ms_max` is asked for each time, because it is a replicated setting."""

    def __init__(self, clock: Clock, node: str, drift_ms_max: Callable[[], int]) -> None:
        self._clock = clock
        self._node = node
        self._drift_ms_max = drift_ms_max
        self._ms = 0
        self._counter = 0

    def next(self, sequence: int = 0) -> Stamp:
        """A stamp above all that this node has given out or heard of."""
        wall_ms = self._clock.wall_ms()
        if wall_ms > self._ms:
            self._ms, self._counter = wall_ms, 0
        else:
            self._counter += 1
        return Stamp(self._ms, self._counter, self._node, sequence)

    def highest(self) -> Stamp:
        """What the next stamp will be above."""
        return Stamp(self._ms, self._counter, self._node, 0)

    def resume(self, ms: int, counter: int) -> None:
        """Be above a value that this node applied, or gave out in an earlier life."""
        if (ms, counter) > (self._ms, self._counter):
            self._ms, self._counter = ms, counter

    def heard(self, stamp: Stamp) -> None:
        """Take note of a stamp that a peer or client told; one that no clock of ours can have got to is ignored."""
        if stamp.counter <= STAMP_COUNTER_TOLD_MAX and stamp.ms <= self._clock.wall_ms() + self._drift_ms_max():
            self.resume(stamp.ms, stamp.counter)


def resume_clock(clock: HybridClock, opened: Opened) -> None:
    """Be above all that this node may have applied before it stopped: what its snapshot holds, and what its log does.

    The commit index is not durable at once, so more of the log may have been applied than a restart knows. The log is
    gone through as the state machine would (rules 5 and 8 there).
    """
    machine = opened.machine
    last = machine.last_stamp[:2]
    first = machine.applied_index + 1 - opened.journal.entries[0][1]
    for command, _, _ in opened.journal.entries[max(first, 0) :]:
        if command[:1] != REGULAR:
            continue
        entry = commands.decode(command[1:])
        last = max(entry.stamp[:2], (last[0], last[1] + 1))
        if entry.origin is not None:
            bound = max((entry.origin.wall_ms + machine.clock_drift_ms_max, 0), last)
            last = max([last, *(min((op[-3], op[-2]), bound) for op in entry.ops)])
    clock.resume(*last)

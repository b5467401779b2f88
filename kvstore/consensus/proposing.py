"""What a leader takes into its log, and what it refuses because disks are full.

A put is taken in while a majority has room without its reserve; a delete while a majority has room in it. Two bounds
keep what was taken in from filling disks by itself:

- What is not committed yet never exceeds what a follower that reported room can still take, part of its reserve
  included. So a burst never stops at a follower that has no room for its rest, with every later delete behind it.
- While a majority has no room, one burst of deletes is under way at a time, no larger than what those who answer for
  their reserve can take. So the log never ends in something that cannot be committed, and a new leader's no-op, which
  every read waits for, is never behind it.
"""

from functools import partial

from kvstore import limits, outcomes
from kvstore.consensus.context import Context
from kvstore.consensus.engine import Host
from kvstore.consensus.leading import Leadership
from kvstore.consensus.pending import Pending
from kvstore.consensus.raft import REGULAR


class Proposing:
    """Asks the host for proposals and appends them, as many as the disks of a majority can take."""

    def __init__(self, context: Context, host: Host, pending: Pending) -> None:
        self._context = context
        self._host = host
        self._pending = pending

    def take(self, lead: Leadership) -> bool:
        """Take in what waits. False if this node alone has no room: then another leads better."""
        context = self._context
        context.look_for_room()
        full = lead.storage_full
        if context.full and not full:
            return False
        uncommitted = context.journal.bytes_since(context.core.commit_index)
        if not full:
            if uncommitted < context.burst_bytes:
                self._append(full=False, bytes_max=limits.STEP_BYTES_MAX)
        elif lead.reserve_used or context.reserve_used:
            self._append(full=True, bytes_max=0)
        elif not uncommitted:
            self._append(full=True, bytes_max=context.burst_bytes)
        return True

    def _append(self, *, full: bool, bytes_max: int) -> None:
        core, journal = self._context.core, self._context.journal
        index, size = journal.entries[-1][1], 0
        for command, done in self._host.proposals(full=full):
            size += len(command)
            if full and (size > bytes_max or not journal.fits(len(REGULAR) + len(command))):
                refusal = outcomes.error(
                    outcomes.STORAGE_FULL, "the disks of a majority are full, and what is kept for deletes is used up"
                )
                self._pending.later(partial(done, None, 0, refusal))
                continue
            index += 1
            journal.append(REGULAR + command, index, core.term)
            self._pending.add(index, core.term, done)

"""Applying committed entries in slices, so that a long backlog never keeps a node from answering its peers."""

from kvstore import limits
from kvstore.clock import Clock
from kvstore.consensus.context import Context
from kvstore.consensus.engine import Host
from kvstore.consensus.pending import Pending
from kvstore.consensus.raft import REGULAR


class Applier:
    """Takes the host from the applied to the commit index. An exception of the host's goes through: it stops the
    node.
    """

    def __init__(self, context: Context, clock: Clock, host: Host, pending: Pending) -> None:
        self._context = context
        self._clock = clock
        self._host = host
        self._pending = pending

    def slice(self) -> None:
        """Apply what is committed, but not too much at a time."""
        core, host, entries = self._context.core, self._host, self._context.journal.entries
        backlog = core.commit_index - core.applied_index
        if backlog <= 0:
            return
        until = self._clock.monotonic() + limits.APPLY_SLICE_S_MAX
        start = core.applied_index + 1 - entries[0][1]
        for command, index, term in entries[start : start + min(backlog, limits.APPLY_SLICE_ENTRIES_MAX)]:
            result = None
            if command[:1] == REGULAR:
                result = host.apply(index, term, command[1:])
            else:
                host.skip(index, term)
            core.applied_index = index
            self._pending.applied(index, term, result)
            if self._clock.monotonic() > until:
                break
        host.applied(core.applied_index)

"""The first election of a new cluster (rule M6 of membership.py): who may vote with an empty directory.

An empty directory under the flags of a first member is one of two things that it cannot tell apart by itself: that of a
new cluster, or that of a member that has lost its disk, with its votes and acknowledged entries. If two of three such
members came back with their old flags and voted, they would found a second, empty cluster beside the log of the third.

So a node whose directory is empty waits, as one that neither votes nor campaigns, until

- every other first member has told it, in a handshake since this start, that it has no log either: then nothing that
  was ever committed can be known to any of them, and the node may found the cluster with them; or
- a leader has sent it entries: then it is a member like any other. A leader that knows its name under another identity
  has refused it before that (M5).

Whoever has a log, or has voted before, does not wait: its directory is not empty. What cannot be known: if all first
members have lost their disks, a new cluster is what it looks like. And a member that cannot be reached may have a log
or not; hence `incomplete`, by which an operator vouches for those who are missing at the very first election. It does
not count for members that were heard from and do have a log.
"""

from kvstore.consensus.context import Context
from kvstore.consensus.engine import Peer


class Founding:
    """Keeps who has not been heard from. Ended for good once nobody is left."""

    def __init__(self, context: Context, *, incomplete: bool) -> None:
        journal = context.journal
        self._context = context
        self._incomplete = incomplete
        empty = journal.entries[-1][1] == 1 and journal.term == 0 and journal.configuration.index == 1
        self._unheard = set(journal.configuration.voters) - {context.name} if empty else set()
        self._founds = empty
        self._have_logs: set[str] = set()

    @property
    def founds(self) -> bool:
        """Whether this node began, in this life, with an empty directory like all others: the voter that the first
        configuration names is this one. Else it may be one that lost its disk, and is no voter of that name any more.
        """
        return self._founds and not self.waits_for

    @property
    def waits(self) -> bool:
        """Whether this node may not vote yet."""
        return bool(self._unheard) and bool(self.waits_for)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """First members who have not said that they have no log either; those with a log among them."""
        if self._unheard and self._context.last[1] > 1:
            self._unheard.clear()
            self._founds = False
        return tuple(sorted(self._unheard & self._have_logs if self._incomplete else self._unheard))

    def heard(self, peer: Peer) -> bool:
        """`peer` answered a handshake. True if this ended the waiting."""
        if not self.waits:
            return False
        if peer.has_log:
            self._have_logs.add(peer.name)
        else:
            self._unheard.discard(peer.name)
        return not self.waits

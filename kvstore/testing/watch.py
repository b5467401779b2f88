"""Looks at one simulated node after every step and tells the invariants what is new.

It reads, and changes nothing. The cost of a look is that of a few attributes when nothing has changed.
"""

from collections.abc import Callable

from kvstore.consensus.journal import Journal
from kvstore.consensus.member import Member
from kvstore.consensus.raft import LEADER, Core
from kvstore.consensus.rules import term_at
from kvstore.testing.invariants import Entry, Invariants, Moment


class Watch:
    """The eyes on one process; `identity` is that of its disk. `disks` gives the watches of all disks that there ever
    were, this one's included, each as its last process left it.
    """

    def __init__(
        self,
        name: str,
        identity: str,
        incarnation: int,
        invariants: Invariants,
        member: Member,
        journal: Journal,
        disks: Callable[[], "list[Watch]"],
        elected: Callable[[int], None],
    ) -> None:
        self.name = name
        self.identity = identity
        self.incarnation = incarnation
        self.journal = journal
        self._invariants = invariants
        self._core: Core = member._core
        self._disks = disks
        self._elected = elected
        self._seen: tuple[int, ...] = ()
        self._committed = journal.entries[0][1]
        self._checked: Entry = journal.entries[0]

    def look(self) -> None:
        """Check what has changed since the last look. Raises InvariantBroken."""
        core, journal = self._core, self.journal
        entries = journal.entries
        last = entries[-1]
        seen = (core.role, core.term, core.commit_index, core.applied_index, last[1], last[2])
        if seen == self._seen and last is self._checked:
            return
        self._seen = seen
        invariants = self._invariants
        if last is not self._checked:
            self._look_at_log()
        role, term, commit, applied, *_ = seen
        if commit > self._committed:
            if commit > invariants.commit_index:
                invariants.committed_up_to(self.name, term, entries, commit, self._too_few)
            invariants.same_committed(self.name, entries, self._committed + 1, commit)
            self._committed = commit
        if role == LEADER and invariants.leads(self.name, self.incarnation, term):
            invariants.leader_log(self.name, term, last[1], lambda index: term_at(entries, index))
            self._elected(term)
        invariants.moved(Moment(self.name, self.incarnation, term, commit, applied))

    def durable(self) -> tuple[int, str | None, int, int]:
        """(term, vote, last index, its term) that this process had been promised to be durable."""
        journal = self.journal
        index = journal.durable_index
        term, voted_for = journal._written[:2]
        return term, voted_for, index, term_at(journal.entries, index) or 0

    def holds(self, entry: Entry) -> bool:
        """Whether `entry` was durable here as far as this process knows, or knew when it ended."""
        journal = self.journal
        if journal.durable_index < entry[1]:
            return False
        here = term_at(journal.entries, entry[1])
        return here is None or here == entry[2]

    def _look_at_log(self) -> None:
        entries = self.journal.entries
        first = entries[0][1]
        _, index, _ = self._checked
        place = index - first
        if not (0 <= place < len(entries) and entries[place] is self._checked):
            # Something was cut off: at most everything behind the commit index is new.
            place = max(min(self._committed, entries[-1][1]) - first, 0)
        if place + 1 < len(entries):
            self._invariants.logged(self.name, entries, place + 1)
            self._invariants.one_change(self.name, entries[max(self._core.commit_index - first, 0) + 1 :])
        self._checked = entries[-1]

    def _too_few(self, entry: Entry) -> str | None:
        """Of a voter that the configuration names, the disk that it names counts, also one that was lost since: it had
        acknowledged the entry, and a lost disk is a lost node. That of a successor of its name does not count for it.
        """
        configuration = self.journal.configuration
        voters = {member.name: member.identity for member in configuration.members if member.voter}
        holders = {
            watch.name
            for watch in self._disks()
            if voters.get(watch.name) in ("", watch.identity) and watch.holds(entry)
        }
        if 2 * len(holders) > len(voters):
            return None
        return f"durable only on {sorted(holders)} of the voters {configuration.voters}"

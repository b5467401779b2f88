"""The configuration in effect on this member, kept in step with its log (rules M1 to M3 of membership.py)."""

from collections.abc import Callable

from kvstore.consensus import membership, rules
from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.context import Context
from kvstore.consensus.engine import Objection, ProposalDone
from kvstore.consensus.pending import Pending


class Seats:
    """`changed` is called whenever another configuration took effect; `initial` holds below the log's first entry."""

    def __init__(self, context: Context, initial: Configuration, changed: Callable[[], None]) -> None:
        self._context = context
        self._initial = initial
        self._changed = changed

    def take(self) -> None:
        """Give the engine the configuration of the journal."""
        others = [each for each in self._context.journal.configuration.members if each.name != self._context.name]
        self._context.core.set_members(
            [each.name for each in others if each.voter], [each.name for each in others if not each.voter]
        )

    def adopt(self, configuration: Configuration) -> None:
        """Let `configuration` take effect, if it is not in effect already."""
        if configuration != self._context.journal.configuration:
            self._context.journal.set_configuration(configuration)
            self.replaced()

    def hear(self, configuration: Configuration) -> None:
        """What a node that joins has heard of the members. It counts only until its log tells; no vote hangs on it.

        Members may have come since it was started, and who leads now must be let in, or it would never get the log.
        """
        if self._context.journal.configuration.index == 0:
            self.adopt(configuration)

    def replaced(self) -> None:
        """The journal's configuration is another one now."""
        self.take()
        self._changed()

    def refold(self) -> None:
        """M1: configurations were appended or truncated."""
        self.adopt(membership.folded(self._context.journal.entries, self._below_log()))

    def at(self, index: int) -> Configuration:
        """The configuration that was in effect at log index `index`, for a snapshot that ends there."""
        return membership.folded(self._context.journal.entries, self._below_log(), index)

    def change(
        self, members: tuple[Member, ...], pending: Pending, done: ProposalDone, *, leads: bool
    ) -> Objection | None:
        """Append a configuration with these members, effective at once; why not, if it cannot begin (M2, M3)."""
        core, journal = self._context.core, self._context.journal
        may_begin = leads and rules.may_read(rules.term_at(journal.entries, core.commit_index), core.term)
        why_not = membership.objection(
            journal.configuration, members, commit_index=core.commit_index, may_begin=may_begin
        )
        if why_not is not None:
            return why_not
        index = journal.entries[-1][1] + 1
        configuration = Configuration(index, tuple(sorted(members)))
        journal.append(membership.to_command(configuration), index, core.term)
        pending.add(index, core.term, done)
        self.adopt(configuration)
        return None

    def _below_log(self) -> Configuration:
        info = self._context.snapshots.latest()
        return self._initial if info is None else info.configuration

"""When a member's journal is synced: in the step, or, for the entries of a leader, beside the loop."""

from collections.abc import Callable
from functools import partial

from kvstore.clock import Clock
from kvstore.consensus.context import Context
from kvstore.consensus.disk import Beside
from kvstore.consensus.leading import Leadership


class Syncing:
    """`took` is told the seconds of each sync; `step` asks for a step."""

    def __init__(
        self, context: Context, clock: Clock, beside: Beside, took: Callable[[float], None], step: Callable[[], None]
    ) -> None:
        self._context = context
        self._clock = clock
        self._beside = beside
        self._took = took
        self._step = step

    def sync(self, lead: Leadership | None, *, commit_too: bool, waited_for: bool) -> None:
        """Make durable what is lined up, or begin to. `commit_too`: a newer commit index too, if that is all there is.
        `waited_for`: durable on return. Raises StorageFull, and JournalFailed, also of what was begun before.
        """
        journal = self._context.journal
        journal.check()
        force = commit_too and journal.commit_index > journal.durable_commit
        if not force and not waited_for and lead is not None and self._others_write_too(lead):
            if journal.dirty and not journal.under_way:
                journal.sync_beside(self._beside, partial(self._ended, self._clock.monotonic()))
        elif journal.dirty or force or journal.under_way:
            began = self._clock.monotonic()
            # The reserve is for what was let in although there is no room: votes, terms, and entries that free some.
            journal.sync(force_commit=force, reserve=True)
            self._took(self._clock.monotonic() - began)
            if lead is not None and not lead.peers:
                self._step()  # the only voter commits by its own fsync, at the next tick

    def _others_write_too(self, lead: Leadership) -> bool:
        """Whether all that is lined up is entries, which this leader has sent to others, and nothing is held for it."""
        return bool(lead.peers) and self._context.journal.only_entries and not self._context.holds

    def _ended(self, began: float) -> None:
        self._took(self._clock.monotonic() - began)
        journal = self._context.journal
        counts = journal.durable_index > self._context.core.commit_index  # mostly the others were faster
        if counts or journal.dirty or journal.failed:
            self._step()

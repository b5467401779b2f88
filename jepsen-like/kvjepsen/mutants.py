"""Rules switched off, one at a time: the simulator must find each. A simulator that does not is not finished.

Each mutant is a context manager that brings back, inside this process, what the engine alone (or a naive store) would
do. The facts are those of the list at the head of docs on consensus; the rules are those of kvstore.consensus.rules.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from kvstore.consensus import rules
from kvstore.consensus.elections import Elections
from kvstore.consensus.following import Following
from kvstore.consensus.journal import Journal
from kvstore.testing.sim_disk import SimFile

Mutant = Callable[[], Any]


@contextmanager
def truncate_without_conflict() -> Iterator[None]:
    """Rule R1 off: everything behind prevLogIndex is dropped, whether it differs or not."""
    accept = rules.normalise_append

    def mutant(log: Any, commit: int, prev_index: int, prev_term: int, entries: Any, leader_commit: int) -> Any:
        fit = accept(log, commit, prev_index, prev_term, entries, leader_commit)
        if isinstance(fit, rules.Reject) or prev_index < commit:
            return fit
        new = [(command, prev_index + 1 + k, term) for k, (term, command) in enumerate(entries)]
        return rules.Accept(prev_index, prev_term, new, fit.matched, fit.commit)

    with mock.patch.object(rules, "normalise_append", mutant):
        yield


@contextmanager
def commit_beyond_match() -> Iterator[None]:
    """Rule R2 off: a follower commits up to the end of its log, whatever this leader has sent of it."""
    accept = rules.normalise_append

    def mutant(*arguments: Any) -> Any:
        fit = accept(*arguments)
        return fit if isinstance(fit, rules.Reject) else fit._replace(commit=arguments[-1])

    with mock.patch.object(rules, "normalise_append", mutant):
        yield


@contextmanager
def no_fsync() -> Iterator[None]:
    """Nothing is ever synced, as in the engine's own journal."""
    with mock.patch.object(SimFile, "sync", lambda self: None):
        yield


@contextmanager
def vote_forgotten() -> Iterator[None]:
    """Term and vote are kept in memory only, as by the engine up to 0.3.15."""
    remember = Journal.set_term

    def mutant(self: Journal, term: int, voted_for: str | None) -> None:
        pending, size, index = list(self._pending), self._pending_bytes, list(self._pending_index)
        remember(self, term, voted_for)
        self._pending, self._pending_bytes, self._pending_index = pending, size, index

    def header(*arguments: Any, **named: Any) -> Any:
        made = state_header(*arguments, **named)
        return made._replace(term=0, voted_for=None)

    from kvstore.consensus import journal

    state_header = journal.state_header
    with mock.patch.object(Journal, "set_term", mutant), mock.patch.object(journal, "state_header", header):
        yield


@contextmanager
def counted_votes() -> Iterator[None]:
    """Rule R5 off: every answer to a vote request counts, also a repeated one, and one that was given for a pre-vote."""
    judge = Elections.vote_reply

    def mutant(self: Elections, peer: str, message: Any) -> None:
        self._votes.discard(peer)
        if message.granted and not message.pre and message.term <= self._context.core.term:
            message = type(message)(self._context.core.term, True, False)
        judge(self, peer, message)

    with mock.patch.object(Elections, "vote_reply", mutant):
        yield


@contextmanager
def cleared_log() -> Iterator[None]:
    """Fact 10: a node that finds a snapshot at its start forgets the log behind it."""
    from kvstore.node import boot

    def mutant(journal: Journal, info: Any) -> None:
        if info.index > journal.entries[0][1]:
            journal._commit_index = min(journal._commit_index, info.index)
            journal.reset(info.index, info.term, info.configuration)

    with mock.patch.object(boot, "_go_on_from", mutant):
        yield


@contextmanager
def late_snapshot() -> Iterator[None]:
    """Fact 11: a snapshot is installed although everything in it is committed here already."""
    receive = Following.snapshot_chunk

    def mutant(self: Following, peer: str, message: Any) -> None:
        core = self._context.core
        commit = core.commit_index
        if message.term >= core.term and message.index <= commit:
            journal = self._context.journal
            core.commit_index = message.index - 1
            journal._commit_index = message.index - 1
        receive(self, peer, message)

    with mock.patch.object(Following, "snapshot_chunk", mutant):
        yield


@contextmanager
def no_pre_vote() -> Iterator[None]:
    """Rules R7 and R8 off: a node that hears nothing campaigns at once, and everybody listens to it."""
    with (
        mock.patch.object(Elections, "hold_deadline", lambda self: None),
        mock.patch.object(rules, "heeds_vote_request", lambda **_: True),
    ):
        yield


@contextmanager
def termless_replies() -> Iterator[None]:
    """Rule R4 off: an answer counts for whoever leads now, whatever it was an answer to."""
    from kvstore.consensus.member import Member

    receive = Member._receive_answer

    def mutant(self: Member, peer: str, message: Any) -> None:
        lead = self.leadership
        if lead is not None and type(message).__name__ == "AppendReply" and message.term < lead.term:
            message = type(message)(lead.term, *[getattr(message, name) for name in message.__struct_fields__[1:]])
        receive(self, peer, message)

    with mock.patch.object(Member, "_receive_answer", mutant):
        yield

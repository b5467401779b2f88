"""Rules switched off, one at a time: the simulator must find each. A simulator that does not is not finished.

Each mutant is a context manager that brings back, in this process, what the engine alone (or a naive store) would do.
Some faults need an occasion that our own code never gives: a peer that says a thing twice. Those mutants bring the
occasion along; `OCCASIONS` has it alone, with all rules on, and nothing must break then.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest import mock

from kvjepsen.level_mutants import LEVEL_MUTANTS
from kvstore.consensus import journal, raft, rules, segments
from kvstore.consensus.elections import Elections
from kvstore.consensus.following import Following
from kvstore.consensus.journal import Journal
from kvstore.consensus.leading import Leadership
from kvstore.consensus.member import Member
from kvstore.consensus.messages import AppendReply, SnapshotChunk, SnapshotReply, VoteReply
from kvstore.node import boot
from kvstore.testing.sim_disk import SimFile

Mutant = Callable[[], AbstractContextManager[None]]


@contextmanager
def truncate_without_conflict() -> Iterator[None]:
    """R1 off (fact 3): all behind prevLogIndex is dropped, and each acknowledgement moves the next index back."""
    normalise, reply = rules.normalise_append, Leadership.append_reply

    def normalised(log: Any, commit: int, prev: int, prev_term: int, entries: Any, leader_commit: int) -> Any:
        fit = normalise(log, commit, prev, prev_term, entries, leader_commit)
        if isinstance(fit, rules.Reject) or prev < log[0][1]:
            return fit
        new = [(command, prev + 1 + place, term) for place, (term, command) in enumerate(entries)]
        return rules.Accept(prev, prev_term, new, fit.matched, fit.commit)

    def replied(self: Leadership, peer: str, message: AppendReply) -> None:
        reply(self, peer, message)
        if message.success and peer in self.progress:
            self._context.core.set_next_index(peer, message.index + 1)

    with (
        mock.patch.object(rules, "normalise_append", normalised),
        mock.patch.object(Leadership, "append_reply", replied),
    ):
        yield


@contextmanager
def commit_beyond_match() -> Iterator[None]:
    """R2 off: a follower commits up to the end of its log, whatever this leader has sent of it."""
    normalise = rules.normalise_append

    def normalised(log: Any, commit: int, prev: int, prev_term: int, entries: Any, leader_commit: int) -> Any:
        fit = normalise(log, commit, prev, prev_term, entries, leader_commit)
        return fit if isinstance(fit, rules.Reject) else fit._replace(commit=leader_commit)

    with mock.patch.object(rules, "normalise_append", normalised):
        yield


@contextmanager
def termless_replies() -> Iterator[None]:
    """R4 off (fact 4): an answer counts for whoever leads now, whatever it was an answer to."""
    receive = Member._receive_answer

    def received(self: Member, peer: str, message: Any) -> None:
        lead = self.leadership
        if lead is not None and isinstance(message, AppendReply) and message.term < lead.term:
            fields = [getattr(message, name) for name in message.__struct_fields__[2:]]
            message = AppendReply(lead.term, lead._seq, *fields)
        receive(self, peer, message)

    with mock.patch.object(Member, "_receive_answer", received):
        yield


@contextmanager
def no_fsync() -> Iterator[None]:
    """Fact 1: nothing is ever synced."""
    with mock.patch.object(SimFile, "sync", return_value=None):
        yield


@contextmanager
def counted_before_fsync() -> Iterator[None]:
    """A leader counts its own copy while its disk is still at work, as the engine does by itself."""
    with mock.patch.object(raft._MatchIndex, "__getitem__", dict.__getitem__):
        yield


@contextmanager
def in_place_rewrite() -> Iterator[None]:
    """Fact 2: compaction writes the journal's file anew, in its place."""
    compact = Journal.compact

    def compacted(self: Journal, index: int, keep_bytes: int) -> None:
        compact(self, index, keep_bytes)
        content = self._file.pread(self._file.size(), 0)
        self._file.truncate(0)
        self._file.pwrite(content, 0)

    with mock.patch.object(Journal, "compact", compacted):
        yield


@contextmanager
def vote_forgotten() -> Iterator[None]:
    """Term and vote live in memory only, as in the engine up to 0.3.15."""
    header = segments.state_header

    def set_term(self: Journal, term: int, voted_for: str | None) -> None:
        self._term, self._voted_for = term, voted_for

    def state_header(*arguments: Any) -> Any:
        return header(*arguments)._replace(term=0, voted_for=None)

    with mock.patch.object(Journal, "set_term", set_term), mock.patch.object(journal, "state_header", state_header):
        yield


@contextmanager
def repeated_votes() -> Iterator[None]:
    """An occasion: every vote is heard twice."""
    judge = Elections.vote_reply

    def judged(self: Elections, peer: str, message: VoteReply) -> None:
        judge(self, peer, message)
        judge(self, peer, message)

    with mock.patch.object(Elections, "vote_reply", judged):
        yield


@contextmanager
def counted_votes() -> Iterator[None]:
    """R5 off (fact 5): answers are counted, not those who gave them."""
    judge = Elections.vote_reply

    def judged(self: Elections, peer: str, message: VoteReply) -> None:
        self._votes.discard(peer)
        judge(self, peer, message)

    with mock.patch.object(Elections, "vote_reply", judged), repeated_votes():
        yield


@contextmanager
def cleared_log() -> Iterator[None]:
    """Fact 10: a node that finds a snapshot when it starts forgets the log behind it."""
    go_on = boot._go_on_from

    def gone_on(log: Journal, info: Any) -> None:
        if info.index > log.entries[0][1]:
            log._commit_index = min(log.commit_index, info.index)
            log.reset(info.index, info.term, info.configuration)
        go_on(log, info)

    with mock.patch.object(boot, "_go_on_from", gone_on):
        yield


@contextmanager
def repeated_snapshots() -> Iterator[None]:
    """An occasion: the last piece of a snapshot is sent once more when it has been taken, behind a few entries."""
    reply = Leadership.snapshot_reply

    def replied(self: Leadership, peer: str, message: SnapshotReply) -> None:
        progress = self.progress.get(peer)
        sending = None if progress is None else progress.snapshot
        if not message.done or sending is None or sending.info.index != message.index:
            reply(self, peer, message)
            return
        info = sending.info
        data = sending.file.pread(info.size, 0)
        reply(self, peer, message)
        self.replicate(True)
        self._seq += 1
        self._context.send(peer, SnapshotChunk(self.term, self._seq, info.index, info.term, 0, info.size, data))

    with mock.patch.object(Leadership, "snapshot_reply", replied):
        yield


@contextmanager
def late_snapshot() -> Iterator[None]:
    """Fact 11: a snapshot is installed although all that it holds is committed here already."""
    receive = Following.snapshot_chunk

    def received(self: Following, peer: str, message: SnapshotChunk) -> None:
        core, log = self._context.core, self._context.journal
        if message.term >= core.term and message.index <= core.commit_index:
            core.commit_index = log._commit_index = message.index - 1
        receive(self, peer, message)

    with mock.patch.object(Following, "snapshot_chunk", received), repeated_snapshots():
        yield


@contextmanager
def no_pre_vote() -> Iterator[None]:
    """R7 and R8 off (fact 5): who hears nothing campaigns at once, and everybody listens. Safe, but terms rise."""
    with (
        mock.patch.object(Elections, "hold_deadline", return_value=None),
        mock.patch.object(rules, "heeds_vote_request", return_value=True),
    ):
        yield


MUTANTS: Final[dict[str, Mutant]] = {
    mutant.__name__.replace("_", "-"): mutant
    for mutant in (
        truncate_without_conflict,
        commit_beyond_match,
        termless_replies,
        no_fsync,
        counted_before_fsync,
        in_place_rewrite,
        vote_forgotten,
        counted_votes,
        cleared_log,
        late_snapshot,
        no_pre_vote,
        *LEVEL_MUTANTS,
    )
}
OCCASIONS: Final[dict[str, Mutant]] = {
    "repeated-votes": repeated_votes,
    "repeated-snapshots": repeated_snapshots,
}

"""What a follower does with appends and snapshots of a leader (rules R1 to R4, R9)."""

from collections.abc import Callable

from kvstore.consensus import journal_format as form
from kvstore.consensus import membership, rules
from kvstore.consensus.context import Context
from kvstore.consensus.freshness import UNCONFIRMED_US, Freshness
from kvstore.consensus.messages import NO_MESSAGE, Append, AppendReply, SnapshotChunk, SnapshotReply
from kvstore.consensus.raft import KINDS, LEADER, REGULAR
from kvstore.consensus.snapshots import IncomingSnapshot, SnapshotInfo
from kvstore.errors import CorruptData, StorageFull


class EngineFault(Exception):
    """Something that Raft rules out has happened. The node stops rather than go on in an unknown state."""


def _readable(command: bytes) -> bool:
    """Whether an entry from the wire is of a kind of ours; the library's pickled kinds are not."""
    if command[:1] == b"" or command[0] not in KINDS:
        return False
    if command[0] == membership.KIND:
        try:
            membership.from_command(command)
        except ValueError:
            return False
    return True


def _well_formed(message: Append) -> bool:
    """Whether the entries are readable, and their terms neither fall nor exceed the leader's."""
    before = message.prev_term
    for term, command in message.entries:
        if not before <= term <= message.term or not _readable(command):
            return False
        before = term
    return before <= message.term


class Following:
    """The receiving side of replication. `install` puts a complete, verified snapshot in the place of log and state."""

    def __init__(
        self,
        context: Context,
        heard: Callable[[], None],
        reconfigure: Callable[[], None],
        install: Callable[[SnapshotInfo], None],
    ) -> None:
        self._context = context
        self._heard = heard
        self._reconfigure = reconfigure
        self._install = install
        self._incoming: IncomingSnapshot | None = None
        self._incoming_of: tuple[int, int, int] = (0, 0, 0)
        self._received = 0
        self.sync_commit = False
        self.freshness = Freshness()

    def _leader_speaks(self, peer: str, term: int) -> bool:
        """R9 for a message that only a leader sends; False if it is of an older term."""
        core = self._context.core
        if term < core.term:
            return False
        if term == core.term and core.role == LEADER:
            raise EngineFault(f"{peer} leads term {term}, and so does this node: two leaders in one term")
        return True

    def append(self, peer: str, message: Append) -> None:
        """AppendEntries: normalised before the engine sees it; the reply is the gate's, not the engine's."""
        context = self._context
        core, journal = context.core, context.journal
        if not self._leader_speaks(peer, message.term):
            context.hold(peer, AppendReply(core.term, NO_MESSAGE, False, 0, 0, 0, 0))
            return
        if not _well_formed(message):
            context.drop()
            return
        fit = rules.normalise_append(
            journal.entries,
            core.commit_index,
            message.prev_index,
            message.prev_term,
            message.entries,
            message.commit_index,
        )
        if isinstance(fit, rules.Reject):
            self._contact(peer, message.term)
            context.hold(peer, AppendReply(core.term, message.seq, False, fit.hint_index, fit.hint_term, 0, 0))
            return
        if not self._takes(fit.entries, message.reserve):
            self._contact(peer, message.term)
            context.hold(peer, AppendReply(core.term, message.seq, True, fit.prev_index, 0, 0, 0))
            return
        core.deliver(
            peer,
            {
                "type": "append_entries",
                "term": message.term,
                "commit_index": fit.commit,
                "prevLogIdx": fit.prev_index,
                "prevLogTerm": fit.prev_term,
                "entries": fit.entries,
            },
        )
        if not context.engine_accepted:
            raise EngineFault(f"the engine refused an append that fits, from index {fit.prev_index} on")
        if journal.configuration.index > fit.prev_index or any(entry[0][0] == membership.KIND for entry in fit.entries):
            self._reconfigure()  # M1
        self._heard()
        self.sync_commit = self.sync_commit or message.sync_commit
        self._note_freshness(message)
        context.hold(peer, AppendReply(core.term, message.seq, True, fit.matched, 0, 0, 0))

    def _note_freshness(self, message: Append) -> None:
        made_s = self._context.tokens.seconds(message.echo, self._context.now_s)
        if made_s is not None and message.majority_age_us < UNCONFIRMED_US:
            self.freshness.told(message.commit_index, made_s - message.majority_age_us / 1e6)

    def _takes(self, entries: list[rules.LogEntry], reserve: bool) -> bool:
        """Whether there is room for the entries; from the reserve only for what fits there, or this node would stall.
        A no-op or a configuration may use the part of it that is kept: without them no leader could serve reads.

        What is reported is whether there is the room that a leader would need, so that leader and followers mean the
        same by it; and never that there is room while entries are refused, or the leader would not send them again.
        """
        context, journal = self._context, self._context.journal
        size = sum(form.ENTRY_OVERHEAD_BYTES + len(command) for command, _, _ in entries)
        fits = not entries or journal.room(size)
        context.look_for_room()
        context.full = context.full or not fits
        if fits or not reserve:
            return fits
        fits = journal.fits(size, kept=all(command[:1] != REGULAR for command, _, _ in entries))
        context.reserve_used = context.reserve_used or not fits
        return fits

    def _contact(self, peer: str, term: int) -> None:
        """Let the engine take note of the leader (term, deadline) without touching its log: an append without
        entries.
        """
        self._context.core.deliver(peer, {"type": "append_entries", "term": term, "commit_index": 0})
        self._heard()

    def snapshot_chunk(self, peer: str, message: SnapshotChunk) -> None:
        """InstallSnapshot. One at or below the commit index is not needed: it would move this node backwards."""
        context = self._context
        core = context.core
        if message.offset + len(message.data) > message.size:
            context.drop()
            return
        if not self._leader_speaks(peer, message.term):
            context.hold(peer, SnapshotReply(core.term, NO_MESSAGE, 0, 0, done=False))
            return
        self._contact(peer, message.term)
        if message.index <= core.commit_index:
            self.abandon()
            context.hold(peer, SnapshotReply(core.term, message.seq, message.index, message.size, done=True))
            return
        of = (message.index, message.index_term, message.size)
        done, room = False, True
        try:
            if self._incoming is None or self._incoming_of != of:
                self.abandon()
                self._incoming, self._incoming_of = context.snapshots.incoming(*of), of
            if message.offset == self._received:
                done = self._take_chunk(self._incoming, message)
        except StorageFull:
            # Said here, and not by waiting for room: whatever else this step holds must not wait with it.
            self.abandon()
            room = False
        context.hold(peer, SnapshotReply(core.term, message.seq, message.index, self._received, done=done, room=room))

    def _take_chunk(self, incoming: IncomingSnapshot, message: SnapshotChunk) -> bool:
        """Add what goes on where the last chunk ended; True once the snapshot is whole and installed."""
        incoming.write(message.offset, message.data)
        self._received += len(message.data)
        if self._received < message.size:
            return False
        self._incoming = None
        return self._complete(incoming)

    def _complete(self, incoming: IncomingSnapshot) -> bool:
        """Verify and install; a snapshot that was damaged on its way is thrown away and asked for again."""
        try:
            info = incoming.commit()
        except CorruptData:
            self._received = 0
            self._context.drop()
            return False
        self._install(info)
        return True

    def abandon(self) -> None:
        """Throw away what has been received of a snapshot."""
        if self._incoming is not None:
            self._incoming.abort()
            self._incoming = None
        self._received = 0

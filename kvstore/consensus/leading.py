"""What a leader does for its followers, and only while it leads: one object for each leadership.

It sends entries and snapshots within bounds, judges the answers (rules R3, R4), confirms reads (R11) and tells when
every voter has what level ALL promises.
"""

import structlog

from kvstore import limits
from kvstore.consensus import rules
from kvstore.consensus.context import Context
from kvstore.consensus.engine import AllDone, ReadDone
from kvstore.consensus.freshness import UNCONFIRMED_US
from kvstore.consensus.messages import (
    NO_MESSAGE,
    Append,
    AppendReply,
    ReadRound,
    ReadRoundReply,
    SnapshotChunk,
    SnapshotReply,
)
from kvstore.consensus.progress import Progress, SnapshotSending
from kvstore.consensus.reads import ReadRounds
from kvstore.errors import NoLeader

_logger = structlog.get_logger()

# A new commit index travels with the next entries; without any it is told after this time, so that followers can apply.
# Where entries follow each other within the second time, that is what is waited for the next. Who waits for a read that
# a follower has asked for is told at once.
COMMIT_UNTOLD_S_MAX = 0.002
COMMIT_UNTOLD_BUSY_S_MAX = 0.01


class Leadership:
    """The leader's side of replication in one term."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.term = context.core.term
        self.progress = {peer: Progress() for peer in context.others}
        self.reads = ReadRounds(context)
        self._seq = 0
        self._all: list[tuple[int, AllDone]] = []
        self._told_commit = 0
        self._last_index = context.last[1]
        self._appended_s = float("-inf")
        self._patience_s = COMMIT_UNTOLD_S_MAX
        self._tell_commit_at = float("inf")
        self._majority_age_us = UNCONFIRMED_US

    def end(self) -> None:
        """This node leads no more: whoever waits for it is told so. Nothing was applied by a read or by waiting."""
        for progress in self.progress.values():
            progress.drop_snapshot()
        for read_done in self.reads.abort():
            read_done(0, NoLeader("the node that was asked to confirm the read leads no more", read=True))
        waiting, self._all = self._all, []
        for _, all_done in waiting:
            all_done(NoLeader("the leader changed"))

    @property
    def append_at(self) -> float:
        """When followers must be told something at the latest, apart from heartbeats; monotonic seconds."""
        return self._tell_commit_at

    @property
    def peers(self) -> list[str]:
        """The other voters."""
        return [name for name in self._context.voters if name != self._context.name]

    def members_changed(self) -> None:
        """A configuration took effect: begin to serve who is new, stop with who is gone."""
        others = self._context.others
        for gone in self.progress.keys() - set(others):
            self.progress.pop(gone).drop_snapshot()
        for new in others:
            if new not in self.progress:
                self.progress[new] = Progress()

    # -- connections

    def connected(self, peer: str) -> None:
        """A new connection: nothing of the old one will be answered any more, so sending starts at what is known.

        What it holds the follower has to tell anew: its disk may have been put back to an earlier state, and would else
        never get again what it is known to have had.
        """
        if peer in self.progress:
            self.progress[peer].drop_snapshot()
            self.progress[peer].restart(self._seq + 1)
            match = self._context.core.match(peer)
            self.progress[peer].reconnected(match)
            known = match or self._context.journal.entries[-1][1]
            self._context.core.forget_match(peer)
            self._context.core.set_next_index(peer, known + 1)

    def lag_s(self, peer: str) -> float:
        """Seconds since `peer` last answered."""
        return self._context.now_s - self._context.core.heard_at(peer)

    def has_answered(self, peer: str) -> bool:
        """Whether `peer` has answered an append of this leadership since it is a member."""
        progress = self.progress.get(peer)
        return progress is not None and progress.confirmed_s > float("-inf")

    def confirmed_s(self) -> float:
        """When a majority had last confirmed this leadership at least, in monotonic seconds; minus infinity if never,
        or while nothing of this term is committed: then earlier acknowledged entries may lie above the commit index.
        """
        core, log = self._context.core, self._context.journal.entries
        if not rules.may_read(rules.term_at(log, core.commit_index), self.term):
            return float("-inf")
        times = [self.progress[peer].confirmed_s for peer in self.peers]
        if self._context.name in self._context.voters:
            times.append(self._context.now_s)
        return rules.majority_time(times, len(self._context.voters))

    @property
    def storage_full(self) -> bool:
        """Whether those voters that have room for more entries are no majority."""
        roomy = [peer for peer in self.peers if self.progress[peer].room]
        if not self._context.full:
            roomy.append(self._context.name)
        return not rules.is_majority(roomy, self._context.voters)

    @property
    def reserve_used(self) -> bool:
        """Whether those voters whose reserve takes deletes are no majority."""
        able = [peer for peer in self.peers if self.progress[peer].reserve]
        if not self._context.reserve_used:
            able.append(self._context.name)
        return not rules.is_majority(able, self._context.voters)

    # -- sending

    def replicate(self, due: bool) -> None:
        """Send every follower what it lacks, within the bounds; something in any case when a heartbeat is due."""
        core = self._context.core
        age_s = self._context.now_s - self.confirmed_s()
        self._majority_age_us = int(age_s * 1e6) + 1 if age_s < 1e6 else UNCONFIRMED_US
        if (last := self._context.last[1]) > self._last_index:
            busy = self._context.now_s - self._appended_s < COMMIT_UNTOLD_BUSY_S_MAX
            self._patience_s = COMMIT_UNTOLD_BUSY_S_MAX if busy else COMMIT_UNTOLD_S_MAX
            self._last_index, self._appended_s = last, self._context.now_s
        untold = core.commit_index > self._told_commit
        due = due or self._tell_commit_at < self._context.now_s or (untold and bool(self._all))
        if due:
            self._told_commit, self._tell_commit_at = core.commit_index, float("inf")
        elif untold and self._tell_commit_at == float("inf"):
            self._tell_commit_at = self._context.now_s + self._patience_s
        for peer, progress in self.progress.items():
            if self._context.transport.peer(peer) is None:
                continue
            sent = False
            if progress.snapshot is None and core.next_index(peer) <= self._context.journal.entries[0][1]:
                self._begin_snapshot(peer, progress)
            elif progress.snapshot is None:
                sent = self._send_entries(peer, progress, due)
            if progress.snapshot is not None:
                self._send_chunks(peer, progress.snapshot)
            if due and not sent:
                self._send_append(peer, [])

    def tell_commit(self) -> None:
        """Somebody waits to hear of it at a follower."""
        if self._context.core.commit_index > self._told_commit:
            self._tell_commit_at = 0.0

    def _send_entries(self, peer: str, progress: Progress, due: bool) -> bool:
        core, log = self._context.core, self._context.journal.entries
        sent = False
        if not progress.room and not (self.storage_full and due):
            return False  # asked again at a heartbeat: at once would be an endless exchange of the same refusal
        while (start := core.next_index(peer) - log[0][1]) < len(log) and progress.may_send():
            size = 0
            entries: list[tuple[int, bytes]] = []
            for command, _, term in log[start : start + limits.APPEND_ENTRIES_MAX]:
                if entries and size + len(command) > limits.APPEND_BYTES_MAX:
                    break
                entries.append((term, command))
                size += len(command)
            self._send_append(peer, entries)
            self._told_commit, self._tell_commit_at = core.commit_index, float("inf")
            progress.sent(self._seq, size)
            core.set_next_index(peer, core.next_index(peer) + len(entries))
            sent = True
            if not progress.room:
                break
        return sent

    def _send_append(self, peer: str, entries: list[tuple[int, bytes]]) -> None:
        core, log = self._context.core, self._context.journal.entries
        first = log[0][1]
        prev = max(core.next_index(peer) - 1, first)
        self._seq += 1
        progress = self.progress[peer]
        progress.timed(self._seq, self._context.now_s)
        self._context.send(
            peer,
            Append(
                self.term,
                self._seq,
                prev,
                log[prev - first][2],
                core.commit_index,
                bool(self._all),
                self.storage_full,
                entries,
                progress.clock,
                self._majority_age_us,
            ),
        )

    def _begin_snapshot(self, peer: str, progress: Progress) -> None:
        if self._context.now_s < progress.snapshot_from_s:
            return
        opened = self._context.snapshots.open_latest()
        if opened is not None:
            progress.snapshot = SnapshotSending(*opened)
            self._context.trace("snapshot_sending", to=peer, index=opened[0].index, bytes=opened[0].size)

    def _send_chunks(self, peer: str, sending: SnapshotSending) -> None:
        info = sending.info
        while (chunk := sending.next_chunk()) is not None:
            self._seq += 1
            sending.last_seq = self._seq
            self._context.send(
                peer, SnapshotChunk(self.term, self._seq, info.index, info.term, chunk[0], info.size, chunk[1])
            )

    # -- answers

    def append_reply(self, peer: str, message: AppendReply) -> None:
        """R4: only answers of this term arrive here. A success never moves the next index back."""
        core, log = self._context.core, self._context.journal.entries
        progress = self.progress.get(peer)
        if progress is None or message.seq == NO_MESSAGE or message.index > log[-1][1]:
            self._context.drop()
            return
        progress.answered(message.seq)
        progress.confirmed(message.seq, message.clock)
        progress.applied = max(progress.applied, message.applied)
        progress.commit_durable = max(progress.commit_durable, message.commit_durable)
        progress.room, progress.reserve = message.room, message.reserve
        if not message.room and message.success:
            # It took nothing: what was sent ahead is sent again once it has room.
            core.raise_match(peer, message.index)
            progress.restart(self._seq + 1)
            self._tell_engine(peer, core.match(peer) + 1, reset=True)
        elif message.success:
            following = max(core.next_index(peer), message.index + 1)
            self._tell_engine(peer, message.index + 1, success=True)
            core.raise_match(peer, message.index)
            core.set_next_index(peer, following)
            if progress.snapshot is not None and message.index >= log[0][1]:
                progress.drop_snapshot()
        elif progress.snapshot is None and progress.counts(message.seq):
            if message.index < progress.held:
                self._went_back(peer, progress, message.index)
            following = rules.next_after_reject(log, core.match(peer), message.index, message.hint_term)
            self._tell_engine(peer, following, reset=True)
            progress.restart(self._seq + 1)
        else:
            if progress.snapshot is not None:
                progress.snapshot.passed_over(message.seq)
            self._tell_engine(peer, 0)

    def _went_back(self, peer: str, progress: Progress, index: int) -> None:
        """A follower keeps what it has acknowledged, so a rejection that looks below it comes from a data directory
        that went back to an earlier time. It gets what it lacks.
        """
        _logger.error(
            "follower_went_back",
            member=peer,
            acknowledged=progress.held,
            holds=index,
            advice="Its data directory was put back from a copy, or its disk has lost what was synced. It may have "
            "forgotten votes too: with another failure, acknowledged writes can be lost.",
        )
        progress.held = 0

    def snapshot_reply(self, peer: str, message: SnapshotReply) -> None:
        """Go on with the next chunks, or with entries once the snapshot is in place."""
        progress = self.progress.get(peer)
        if progress is None or progress.snapshot is None or progress.snapshot.info.index != message.index:
            self._context.drop()
            return
        if not message.room:
            progress.drop_snapshot()
            self._context.trace("snapshot_refused", to=peer, index=message.index, reason="no_room")
            progress.snapshot_from_s = self._context.now_s + limits.SNAPSHOT_RETRY_S_MIN
            self._tell_engine(peer, 0)
            return
        if not message.done:
            progress.snapshot.answered(message.offset)
            self._tell_engine(peer, 0)
            return
        progress.drop_snapshot()
        self._context.trace("snapshot_sent", to=peer, index=message.index)
        progress.restart(self._seq + 1)
        self._tell_engine(peer, message.index + 1, success=True)
        self._context.core.raise_match(peer, message.index)
        self._context.core.set_next_index(peer, self._context.core.match(peer) + 1)

    def _tell_engine(self, peer: str, following: int, *, reset: bool = False, success: bool = False) -> None:
        """The engine's own reply; with neither flag it only notes that the peer is alive."""
        self._context.core.deliver(
            peer, {"type": "next_node_idx", "next_node_idx": following, "reset": reset, "success": success}
        )

    # -- reads

    def read(self, done: ReadDone) -> None:
        """Confirm leadership after now, then call `done` with the commit index of that moment."""
        self.reads.add(done)

    def send_read_round(self) -> None:
        """R11: start a round if reads wait and this leader has committed in its own term."""
        core = self._context.core
        if not rules.may_read(rules.term_at(self._context.journal.entries, core.commit_index), self.term):
            return
        number = self.reads.start(core.commit_index)
        if number is not None:
            for peer in self.peers:
                self._context.send(peer, ReadRound(self.term, number))

    def repeat_read_round(self) -> None:
        """At a heartbeat, ask again: the question or an answer may have been lost with a connection."""
        number = self.reads.again()
        if number is not None:
            for peer in self.peers:
                self._context.send(peer, ReadRound(self.term, number))

    def read_reply(self, peer: str, message: ReadRoundReply) -> None:
        """Only answers of this term arrive here."""
        self.reads.answered(peer, message.round)

    # -- level ALL

    def when_all_have(self, index: int, done: AllDone) -> None:
        """Call `done` once every voter has applied `index` and made a commit index that covers it durable."""
        self._all.append((index, done))
        self._tell_commit_at = 0.0  # at once, with the wish to make it durable

    def behind(self, index: int) -> list[str]:
        """Voters that are not known to have applied `index` and made its commit durable."""
        late = [
            peer
            for peer, progress in self.progress.items()
            if peer in self._context.voters and min(progress.applied, progress.commit_durable) < index
        ]
        if min(self._context.core.applied_index, self._context.journal.durable_commit) < index:
            late.append(self._context.name)
        return sorted(late)

    @property
    def wants_commit_durable(self) -> bool:
        """Whether this leader itself must make its commit index durable now."""
        return any(index > self._context.journal.durable_commit for index, _ in self._all)

    def resolve(self) -> None:
        """Answer the reads and the level ALL writes whose condition is met by now."""
        confirmed, index = self.reads.confirmed()
        for read_done in confirmed:
            read_done(index, None)
        if self._all:
            waiting, self._all = self._all, []
            met = []
            for index, all_done in waiting:
                if self.behind(index):
                    self._all.append((index, all_done))
                else:
                    met.append(all_done)
            for all_done in met:
                all_done(None)

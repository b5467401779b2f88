"""What a leader knows of one follower besides the engine's match and next index: what is under way, and how far the
follower has applied. (etcd calls this tracker.Progress.)
"""

from collections import deque

from kvstore import limits
from kvstore.consensus.disk import File
from kvstore.consensus.snapshots import SnapshotInfo


class SnapshotSending:
    """A snapshot on its way to one follower, chunk by chunk, a few ahead of its answers."""

    def __init__(self, info: SnapshotInfo, file: File) -> None:
        self.info = info
        self.file = file
        self.sent = 0
        self.acknowledged = 0
        self.last_seq = 0

    def next_chunk(self) -> tuple[int, bytes] | None:
        """(offset, bytes) to send now, or None while enough is under way."""
        ahead = self.sent - self.acknowledged
        if self.sent >= self.info.size or ahead >= limits.SNAPSHOT_CHUNKS_AHEAD_MAX * limits.SNAPSHOT_CHUNK_BYTES:
            return None
        offset = self.sent
        data = self.file.pread(limits.SNAPSHOT_CHUNK_BYTES, offset)
        self.sent += len(data)
        return offset, data

    def answered(self, offset: int) -> None:
        """The follower holds `offset` bytes; less or more than expected moves the sending there."""
        if offset < self.acknowledged or offset > self.sent:
            self.sent = offset
        self.acknowledged = offset

    def passed_over(self, seq: int) -> None:
        """Message `seq` was answered. Answers come in order: if it was sent after the last chunk, what is not yet
        acknowledged was lost, or its answer was, and is to be sent again.
        """
        if seq > self.last_seq:
            self.sent = self.acknowledged


class Progress:
    """Flow control of one follower (bounded bytes and messages in flight) and how far it has come."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[int, int]] = deque()
        self._bytes_under_way = 0
        self._rejects_from = 0
        self._sent_at: deque[tuple[int, float]] = deque(maxlen=limits.IN_FLIGHT_TIMES_MAX)
        self.clock = 0
        self.confirmed_s = float("-inf")
        self.held = 0
        self.applied = 0
        self.commit_durable = 0
        self.room = True
        self.reserve = True
        self.snapshot: SnapshotSending | None = None
        self.snapshot_from_s = 0.0  # when the next may begin

    def may_send(self) -> bool:
        """Whether another append with entries fits into the bounds."""
        return (
            self._bytes_under_way < limits.IN_FLIGHT_BYTES_MAX and len(self._under_way) < limits.IN_FLIGHT_MESSAGES_MAX
        )

    def sent(self, seq: int, size: int) -> None:
        """An append with `size` bytes of entries went out as message `seq`."""
        self._under_way.append((seq, size))
        self._bytes_under_way += size

    def answered(self, seq: int) -> None:
        """Message `seq` was answered: it and all before it are no longer under way."""
        while self._under_way and self._under_way[0][0] <= seq:
            self._bytes_under_way -= self._under_way.popleft()[1]

    def timed(self, seq: int, now_s: float) -> None:
        """Message `seq`, with or without entries, goes out now."""
        self._sent_at.append((seq, now_s))

    def confirmed(self, seq: int, clock: int) -> None:
        """The answer to message `seq` came: the follower knew of no later term when that was sent. `clock` is the
        token of its clock.
        """
        self.clock = max(self.clock, clock)
        while self._sent_at and self._sent_at[0][0] <= seq:
            number, sent_s = self._sent_at.popleft()
            if number == seq:
                self.confirmed_s = max(self.confirmed_s, sent_s)

    def counts(self, seq: int) -> bool:
        """Whether a rejection of message `seq` tells something new: those sent before the last rejection do not
        (R4).
        """
        return seq >= self._rejects_from

    def restart(self, next_seq: int) -> None:
        """Sending starts afresh with message `next_seq`, after a rejection or a new connection."""
        self._under_way.clear()
        self._bytes_under_way = 0
        self._rejects_from = next_seq

    def reconnected(self, held: int) -> None:
        """Another process may be at the other end now: its clock is another one, and it tells anew how far it is. The
        one before had acknowledged up to `held`.
        """
        self.held = max(self.held, held)
        self.clock = self.applied = self.commit_durable = 0
        self._sent_at.clear()

    def drop_snapshot(self) -> None:
        """Give up sending a snapshot."""
        if self.snapshot is not None:
            self.snapshot.file.close()
            self.snapshot = None

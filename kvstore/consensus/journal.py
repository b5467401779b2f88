"""The journal: the Raft log, term, vote, configuration and commit index, in memory at once and durable after `sync`.

The calls that change something only change memory and line up records. `sync` writes all of them as one group: one
join, one write, one fdatasync. Until it returns, nobody may be told of what it holds. How the bytes look, and which are
believed after a crash, is in `journal_format`; which files they lie in, in `segments`.

**A full disk.** Room is allocated before it is needed, so `sync` raises StorageFull before it writes any of the group,
if it does at all; the records stay lined up and the next `sync` tries again. `room` tells beforehand whether that would
happen: ask it before taking in a put. One segment is held in reserve; `sync(reserve=True)` and `reset` may use it, so
that a full node can still take deletes, terms and votes, and snapshots. It is made again as soon as there is room.
Deletes get no more of it than `fits` says: its last part is kept for what elections and reads need (terms, votes,
commit indices, no-ops), so that those go on for hundreds of elections on a disk that is full for good.

**Beside the loop.** `sync_beside` leaves the fdatasync of a group of nothing but entries to somebody else and returns;
the group is durable when that is done, and `durable_index` tells. One at a time, and whatever else would touch the
file, or take back what is under way, waits until it is done.

**A failed write or fsync** leaves it unknown what is on the disk: JournalFailed, and every later call is refused. Open
the journal anew to go on; what is found then is made durable before it is believed.
"""

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from kvstore import limits
from kvstore.consensus import journal_format as form
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import Beside, Disk
from kvstore.consensus.journal_format import NOOP, Entry
from kvstore.consensus.journal_group import Group, Written
from kvstore.consensus.journal_seal import SEAL_BYTES
from kvstore.consensus.segments import Recovered, Segment, SegmentFiles, first_segment, recover, state_header
from kvstore.errors import LocalError, StorageFull
from kvstore.vault.envelope import NO_KEYS, Vault

_CLOSED: Final = "it is closed"
_FREED_ENTRIES_MAX: Final = limits.JOURNAL_FREED_ENTRIES_MAX


class JournalFailed(LocalError):
    """A write or an fsync of the journal failed: what is durable is unknown, the node must stop."""


class Journal:
    """Log, term, vote, configuration and commit index: in memory, and durable after `sync`.

    `entries` are (command, index, term). `entries[0]` is the base, which a snapshot covers or which is the first no-op;
    the list is never empty and stays the same object.
    """

    def __init__(self, files: SegmentFiles, found: Recovered, entropy: Callable[[int], bytes]) -> None:
        """For `open` only."""
        state = found.state
        self._files = files
        self._entropy = entropy
        self._failed: str | None = None
        self._beside: Beside | None = None  # while something is under way there
        self._segments = found.segments
        self._file = found.file
        self._salt = found.salt
        self._capacity = found.file.size()
        self._offset = self._durable_offset = found.end
        self._unmarked = found.end > found.last_group + form.GROUP_BYTES

        self.entries: list[Entry] = state.entries
        self._term, self._voted_for = state.term, state.voted_for
        self._commit_index, self._configuration = state.commit_index, state.configuration
        # Log bytes up to and with each entry, so that the size of any stretch is one subtraction.
        self._bytes = array("Q", [0])
        for command, _, _ in self.entries[1:]:
            self._bytes.append(self._bytes[-1] + form.ENTRY_OVERHEAD_BYTES + len(command))

        # Giving back the memory of 10^5 entries takes 20 ms, so it is done a slice at a time.
        self._dropped: list[Entry] = []

        # Tiny segments keep a tiny part.
        self._kept_bytes = min(limits.JOURNAL_KEPT_BYTES, files.segment_bytes // 8)
        self._seal_bytes = SEAL_BYTES if files.vault.has_keys else 0

        self._drop_below = 0  # segments with a lower number are not needed any more
        self._group = Group()
        self._durable_index = 0
        self._note_durable()

    @classmethod
    def open(
        cls,
        disk: Disk,
        directory: str,
        *,
        segment_bytes: int = limits.SEGMENT_BYTES,
        entropy: Callable[[int], bytes] = os.urandom,
        vault: Vault = NO_KEYS,
    ) -> "Journal":
        """Recover the journal in `directory`, or begin one there. All that is in it is durable on return.

        Whoever opens it must refuse to start if no snapshot covers `entries[0]` and that is not entry 1 of term 0.
        The directory that `directory` lies in must be durable already if it is to outlive a loss of power.
        `entropy(n)` gives the n random bytes that mark each segment. What is written from now on is encrypted as
        `vault` says. Raises CorruptData, WrongKey, StorageFull (a new journal only) and OSError.
        """
        if not disk.exists(directory):
            disk.mkdir(directory)
            disk.sync_dir(os.path.dirname(directory) or ".")
        files = SegmentFiles(disk, directory, segment_bytes, vault)
        sequences = files.sequences()
        if sequences:
            found = recover(disk, files, sequences)
            files.adopt()
        else:
            files.adopt()
            found = first_segment(files, entropy)
        found.make_durable(segment_bytes)
        disk.sync_dir(directory)
        journal = cls(files, found, entropy)
        journal._write_mark()
        with suppress(StorageFull):
            journal.renew()
        files.replenish()
        return journal

    @property
    def term(self) -> int:
        """Current term."""
        return self._term

    @property
    def voted_for(self) -> str | None:
        """Who got this node's vote in the current term."""
        return self._voted_for

    @property
    def commit_index(self) -> int:
        """Highest index known to be committed; at least that of the base."""
        return self._commit_index

    @property
    def configuration(self) -> Configuration:
        """The configuration in effect, as last set."""
        return self._configuration

    @property
    def durable_index(self) -> int:
        """Last index up to which the log in memory is durable; a truncation lowers it at once."""
        return self._durable_index

    @property
    def durable_term(self) -> int:
        """The term as of the last sync."""
        return self._written[0]

    @property
    def durable_vote(self) -> str | None:
        """The vote in `durable_term` as of the last sync."""
        return self._written[1]

    @property
    def durable_commit(self) -> int:
        """The commit index as of the last sync."""
        return self._written[2]

    @property
    def segment_bytes(self) -> int:
        """The size of a segment, unless one group needs more."""
        return self._files.segment_bytes

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The files in use, oldest first."""
        return tuple(self._segments)

    @property
    def dirty(self) -> bool:
        """Whether `sync` has something to write. The commit index alone does not count: it goes with the next group."""
        return bool(self._group.pieces)

    @property
    def only_entries(self) -> bool:
        """Whether that is nothing but entries."""
        return self._group.only_entries

    @property
    def failed(self) -> bool:
        """Whether it takes nothing any more."""
        return self._failed is not None

    @property
    def under_way(self) -> bool:
        """Whether a sync is being carried out beside the loop."""
        return self._beside is not None

    def append(self, command: bytes, index: int, term: int) -> None:
        """Add an entry. `index` must be the last plus one, `term` not below the last. Raises ValueError."""
        if self._failed:
            self._refuse()
        entries = self.entries
        _, last_index, last_term = entries[-1]
        if index != last_index + 1 or term < last_term:
            raise ValueError(f"entry {index} of term {term} cannot follow entry {last_index} of term {last_term}")
        head = form.entry_head(command, index, term)
        self._group.add_entry(index, head, command)
        self._bytes.append(self._bytes[-1] + len(head) + len(command))
        entries.append((command, index, term))

    def truncate(self, index: int) -> None:
        """Drop entries from `index` on; nothing happens if there are none. Raises ValueError for a committed one."""
        self.check()
        self._finish()
        if index <= self._commit_index:
            raise ValueError(f"entry {index} is committed (up to {self._commit_index}) and can never be dropped")
        keep = index - self.entries[0][1]
        if keep >= len(self.entries):
            return
        del self.entries[keep:], self._bytes[keep:]
        self._group.forget_from(index)
        if index <= self._durable_index:
            _, last_index, last_term = self.entries[-1]
            self._group.add(form.truncate_record(last_index, last_term))
            self._group.cuts.append((last_index, last_term))
            self._durable_index = last_index

    def set_term(self, term: int, voted_for: str | None) -> None:
        """Remember term and vote. Raises ValueError for a lower term or a second vote in one term."""
        self.check()
        if (term, voted_for) == (self._term, self._voted_for):
            return
        if term < self._term or (term == self._term and self._voted_for is not None):
            raise ValueError(
                f"term {term} with a vote for {voted_for} cannot follow term {self._term} with {self._voted_for}"
            )
        self._term, self._voted_for = term, voted_for
        self._group.add(form.term_record(term, voted_for))

    def set_commit(self, index: int) -> None:
        """Remember the commit index, lazily; a lower one changes nothing. Raises ValueError beyond the log's end."""
        self.check()
        if index > self.entries[-1][1]:
            raise ValueError(f"entry {index} cannot be committed: the log ends with entry {self.entries[-1][1]}")
        self._commit_index = max(self._commit_index, index)

    def set_configuration(self, configuration: Configuration) -> None:
        """Remember the configuration in effect. A truncation does not bring back the one before: set it again."""
        self.check()
        if configuration != self._configuration:
            self._configuration = configuration
            self._group.add(form.configuration_record(configuration))

    def sync(self, *, force_commit: bool = False, reserve: bool = False) -> None:
        """Make everything durable, as one group. `force_commit`: the commit index too, if that is all there is.

        Raises StorageFull with nothing written (`reserve`: only when the reserve is used up too), and JournalFailed.
        """
        self._finish()
        if self._failed:
            self._refuse()
        commits = self._commit_index > self._written[2]
        if self._group.pieces or (force_commit and commits):
            written = self._write_group(commits, reserve)
            try:
                self._file.sync()
            except OSError as error:
                self._fail(error)
            self._is_durable(written)
        if self._dropped or self._drop_below:
            self._tidy()

    def sync_beside(self, beside: Beside, done: Callable[[], None]) -> None:
        """Begin to make durable what is lined up, which must be `only_entries`, with nothing `under_way`. `done` is
        called on the loop in the end, whatever it was: `check` tells of a failure. Raises as `sync` with the reserve.
        """
        if self._failed:
            self._refuse()
        if self._dropped or self._drop_below:
            self._tidy()
        written = self._write_group(self._commit_index > self._written[2], reserve=True)
        self._beside = beside
        beside.start(self._file.sync, partial(self._synced_beside, written, done))

    def _synced_beside(self, written: Written, done: Callable[[], None], error: OSError | None) -> None:
        self._beside = None
        with suppress(JournalFailed):
            if error is not None:
                self._fail(error)
            self._is_durable(written)
        done()

    def _finish(self) -> None:
        """Wait for what is under way."""
        if self._beside is not None:
            self._beside.finish()
            self.check()

    def room(self, size: int = 0) -> bool:
        """Whether a sync with a command of `size` bytes more would find room and leave the reserve untouched.

        While the reserve is in use there is none, or it would be used up by what it is not for.
        """
        self.check()
        if not self._files.has_reserve:
            with self._fatal():
                self._files.replenish()
            if not self._files.has_reserve:
                return False
        needed = self._group_bytes + form.ENTRY_OVERHEAD_BYTES + size
        if self._offset + needed <= self._capacity:
            return True
        with self._fatal():
            return self._files.spare_takes(needed)

    def fits(self, size: int, *, kept: bool = False) -> bool:
        """Whether a sync with a command of `size` bytes more would find room, the reserve included, but for the part of
        it that is kept for terms and votes; `kept`: that part too.
        """
        needed = self._group_bytes + form.ENTRY_OVERHEAD_BYTES + size
        kept_bytes = 0 if kept else self._kept_bytes
        if not self._files.next_bytes:
            return self._offset + needed + kept_bytes <= self._capacity
        return self._offset + needed <= self._capacity or self._files.next_bytes >= needed + kept_bytes

    def renew(self) -> None:
        """Begin another segment if the last one is not written by the active key. Raises StorageFull, with nothing
        changed, and JournalFailed.
        """
        self.check()
        if self._segments[-1].key_id != self._files.vault.active:
            self._finish()
            self._roll(0, reserve=False)

    def compact(self, index: int, keep_bytes: int) -> None:
        """A durable snapshot covers the log up to `index`: drop whole segments that are not needed any more.

        At least `keep_bytes` of entries up to `index` stay, if there are so many, for followers that lag. One segment
        goes at once, and one more with each sync, because it takes milliseconds. Memory is cut at the same place, so
        that what is in memory is what a restart would find. Raises JournalFailed.
        """
        self.check()
        covered = min(index, self._durable_index)
        for successor in self._segments[1:]:
            before = successor.before_index
            if before > covered or self.bytes_since(before) - self.bytes_since(index) < keep_bytes:
                break
            self._drop_below = successor.sequence
        self._drop_segment()

    def reset(self, index: int, term: int, configuration: Configuration) -> None:
        """A durable snapshot replaced the log: it begins with (NOOP, index, term) now, durably on return.

        A crash leaves the old log or the new one, whole. Raises StorageFull (the old log stays) and JournalFailed.
        """
        self.check()
        self._finish()
        if index < self._commit_index:
            raise ValueError(f"a snapshot up to entry {index} would take back entries up to {self._commit_index}")
        state = state_header(form.STARTS_LOG, (index, term), self._term, self._voted_for, index, configuration)
        self._begin(state, 0, reserve=True)
        del self._segments[:-1]
        self._dropped += self.entries
        self.entries[:] = [(NOOP, index, term)]
        self._bytes = array("Q", [0])
        self._commit_index, self._configuration = index, configuration
        self._note_durable()
        self._drop_segment()

    def bytes_since(self, index: int) -> int:
        """Log bytes of the entries behind `index`, of those that are there."""
        place = min(max(index - self.entries[0][1], 0), len(self._bytes) - 1)
        return self._bytes[-1] - self._bytes[place]

    def close(self) -> None:
        """Release the files. What was not synced is lost, but for the commit index, which is written if it can be."""
        if self._failed == _CLOSED:
            return
        if self._beside is not None:
            self._beside.finish()
        try:
            if not self._failed and not self._group.pieces:
                if self._offset + self._group_bytes <= self._capacity:
                    self.sync(force_commit=True)
                self._write_mark()
                with self._fatal():
                    self._file.sync()
        finally:
            self._failed = _CLOSED
            self._file.close()
            self._files.close()

    # -- what is lined up, and what is written

    @property
    def _group_bytes(self) -> int:
        return form.GROUP_BYTES + self._group.size + form.COMMIT_BYTES + self._seal_bytes

    def _write_group(self, commits: bool, reserve: bool) -> Written:
        size = self._group_bytes
        begun = self._offset + size > self._capacity
        if begun:
            self._roll(size, reserve)
        head = form.group_record(self._salt, self._offset, self._durable_offset)
        commit = form.commit_record(self._commit_index) if commits else b""
        data = self._group.data(head, commit, self._segments[-1].cipher, self._entropy)
        with self._fatal():
            self._file.pwrite(data, self._offset)
        self._offset += len(data)
        self._unmarked = True
        cuts, self._group = self._group.cuts, Group()
        state = (self._term, self._voted_for, self._commit_index, self._configuration)
        return Written(self._offset, self.entries[-1][1:], state, cuts, begun)

    def _is_durable(self, written: Written) -> None:
        self._durable_offset = written.end
        for cut in written.cuts:
            for segment in self._segments:
                segment.cut(*cut)
        self._durable_index, self._written_last, self._written = written.last[0], written.last, written.state
        if written.begun:
            with self._fatal():
                self._files.replenish()

    def _note_durable(self) -> None:
        """All that is in memory is durable now; nothing is lined up."""
        _, index, term = self.entries[-1]
        self._group = Group()
        self._durable_index, self._written_last = index, (index, term)
        self._written = (self._term, self._voted_for, self._commit_index, self._configuration)

    # -- segments

    def _roll(self, room: int, reserve: bool) -> None:
        """Begin the next segment with the state as it is on disk; the group that did not fit changes it from there."""
        term, voted_for, commit_index, configuration = self._written
        state = state_header(0, self._written_last, term, voted_for, commit_index, configuration)
        self._begin(state, room, reserve=reserve)

    def _begin(self, state: form.SegmentHeader, room: int, *, reserve: bool) -> None:
        salt = self._entropy(form.SALT_BYTES)
        header = state._replace(sequence=self._segments[-1].sequence + 1, previous_end=self._offset, salt=salt)
        with self._fatal():
            if self._offset > self._durable_offset:
                self._file.sync()  # a mark at the end, which the new header is about to call durable
            segment, file, start = self._files.begin(header, room, reserve=reserve)
            self._file.close()
            self._capacity = file.size()
        self._segments.append(segment)
        self._file, self._salt = file, salt
        self._offset = self._durable_offset = start

    def _tidy(self) -> None:
        """Give back a little of what is not needed any more."""
        del self._dropped[-_FREED_ENTRIES_MAX:]
        if self._drop_below:
            self._drop_segment()

    def _drop_segment(self) -> None:
        """Drop the oldest segment, if it is one of those to drop, and what a crash may have brought back before it."""
        segments = self._segments
        if segments[0].sequence < self._drop_below:
            del segments[0]
            gone = segments[0].base_index - self.entries[0][1]
            self._dropped += self.entries[:gone]
            del self.entries[:gone], self._bytes[:gone]
        if segments[0].sequence >= self._drop_below:
            self._drop_below = 0
        with self._fatal():
            self._files.remove_void(segments[0].sequence)
            self._files.replenish()

    def _write_mark(self) -> None:
        """Add an empty group, whose mark covers all before it. It need not be durable: it promises nothing itself."""
        if not self._unmarked or self._offset + form.GROUP_BYTES > self._capacity:
            return
        with self._fatal():
            self._file.pwrite(form.group_record(self._salt, self._offset, self._durable_offset), self._offset)
        self._offset += form.GROUP_BYTES
        self._unmarked = False

    # -- failure

    def check(self) -> None:
        """Raises JournalFailed if it has failed, or is closed."""
        if self._failed:
            self._refuse()

    def _refuse(self) -> None:
        raise JournalFailed(f"the journal takes nothing any more: {self._failed}")

    def _fail(self, error: OSError) -> None:
        self._failed = str(error)
        raise JournalFailed(f"the journal could not be written: {error}") from error

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._fail(error)

"""The files of a journal: segments in use, one spare ahead of time, one in reserve; and reading them back.

    0000000000000007.seg    segment 7; the one with the highest number is written to
    spare, reserve          allocated, not yet part of the journal

A segment gets its name only when its header is durable, and a group is only ever written into room that was allocated
before. So a full disk is met while a spare is made, never in the middle of a group. The reserve is there so that a node
with a full disk can still take deletes and snapshots; `begin` takes it only when told.
"""

import errno
import os
from collections.abc import Callable, Sequence
from typing import Final

from kvstore import limits
from kvstore.consensus import journal_format as form
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import Disk, File
from kvstore.consensus.journal_seal import replay_sealed
from kvstore.errors import CorruptData, StorageFull
from kvstore.vault.cipher import Cipher
from kvstore.vault.envelope import NO_KEYS, Vault
from kvstore.vault.keys import PLAIN

SPARE: Final = "spare"
RESERVE: Final = "reserve"
_SUFFIX: Final = ".seg"
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Segment:
    """One file of the journal in use.

    `before_index` is the last index of the log when it was begun; (`base_index`, `base_term`) is what the log would
    begin with if this were its first segment: the same, unless the log was cut below it later. `key_id`: of the key
    that its `cipher` was made with.
    """

    __slots__ = ("base_index", "base_term", "before_index", "cipher", "key_id", "path", "sequence")

    def __init__(
        self,
        sequence: int,
        path: str,
        base_index: int,
        base_term: int,
        key_id: int = PLAIN,
        cipher: Cipher | None = None,
    ) -> None:
        self.sequence = sequence
        self.key_id = key_id
        self.cipher = cipher
        self.path = path
        self.before_index = base_index
        self.base_index = base_index
        self.base_term = base_term

    def cut(self, last_index: int, last_term: int) -> None:
        """Take note that the log was cut behind `last_index`."""
        if last_index < self.base_index:
            self.base_index, self.base_term = last_index, last_term


class SegmentFiles:
    """The files in `directory`, each of `segment_bytes`, or more where one group needs more. Those that are begun are
    encrypted if `vault` says so.
    """

    def __init__(self, disk: Disk, directory: str, segment_bytes: int, vault: Vault = NO_KEYS) -> None:
        self.vault = vault
        self._disk = disk
        self._directory = directory
        self.segment_bytes = segment_bytes
        self._stock: dict[str, File] = {}

    def sequences(self) -> list[int]:
        """Numbers of the segments that are there, in order."""
        names = self._disk.list(self._directory)
        stems = [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def path(self, sequence: int) -> str:
        """Where segment `sequence` is."""
        return self._place(f"{sequence:016d}{_SUFFIX}")

    def adopt(self) -> None:
        """Take over what an earlier process left as spare or reserve. It may have begun a header in one."""
        for name in (RESERVE, SPARE):
            path = self._place(name)
            if self._disk.exists(path):
                file = self._disk.open(path)
                file.pwrite(bytes(min(file.size(), limits.SEGMENT_HEADER_BYTES * 4)), 0)
                self._stock[name] = file

    def replenish(self) -> bool:
        """Make what is missing of reserve and spare, in this order. True if both are there now."""
        for name in (RESERVE, SPARE):
            if name not in self._stock and not self._create(name):
                return False
            if self._stock[name].size() < self.segment_bytes and not self._allocate(name, self.segment_bytes):
                # A half-allocated file would keep others from what little room there is.
                self._stock.pop(name).close()
                self._disk.remove(self._place(name))
                return False
        return True

    def spare_takes(self, size: int) -> bool:
        """Whether a segment with `size` bytes of records can be begun without the reserve. The spare grows for it."""
        if SPARE not in self._stock and not self.replenish():
            return False
        needed = limits.SEGMENT_HEADER_BYTES + size
        return self._stock[SPARE].size() >= needed or self._allocate(SPARE, needed)

    @property
    def next_bytes(self) -> int:
        """What the next segment could hold, spare or reserve; 0 if there is neither."""
        return self.segment_bytes - limits.SEGMENT_HEADER_BYTES if self._stock else 0

    @property
    def has_reserve(self) -> bool:
        """Whether the reserve is there, untouched."""
        return RESERVE in self._stock

    def begin(self, header: form.SegmentHeader, room: int, *, reserve: bool) -> tuple[Segment, File, int]:
        """Durably begin a segment with at least `room` bytes for records; also the offset where they start.

        Raises StorageFull, with nothing changed, if the disk has no room for it.
        """
        self.replenish()
        name = SPARE if SPARE in self._stock else RESERVE
        if name not in self._stock or (name == RESERVE and not reserve):
            raise StorageFull("there is no room for another segment of the journal")
        key_id, cipher = self.vault.active, None
        if key_id == PLAIN:
            head = form.encode_header(header)
        else:
            head, cipher = form.encode_sealed_header(header, self.vault, key_id)
        if self._stock[name].size() < len(head) + room and not self._allocate(name, len(head) + room):
            raise StorageFull(f"there is no room for {room} bytes of journal")
        file = self._stock.pop(name)
        file.pwrite(head, 0)
        file.sync()
        path = self.path(header.sequence)
        self._disk.rename(self._place(name), path)
        self._disk.sync_dir(self._directory)
        return Segment(header.sequence, path, header.base_index, header.base_term, key_id, cipher), file, len(head)

    def cipher_of(self, head: form.SegmentHeader) -> Cipher | None:
        """The cipher of a segment that was read; None for a plain one. Raises WrongKey and CorruptData."""
        if head.key is None:
            return None
        return self.vault.unwrap(self.path(head.sequence), head.key.key_id, head.key.wrapped, head.key.context)

    def remove_void(self, before: int) -> None:
        """Remove all segments below `before`. A crash may bring back any of them, which does no harm; but with keys
        they are gone for good on return, because the key of one may be thrown away then.
        """
        void = [sequence for sequence in self.sequences() if sequence < before]
        for sequence in void:
            self._disk.remove(self.path(sequence))
        if void and self.vault.has_keys:
            self._disk.sync_dir(self._directory)

    def close(self) -> None:
        """Close spare and reserve; they stay for the next start."""
        while self._stock:
            self._stock.popitem()[1].close()

    def _place(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _create(self, name: str) -> bool:
        if self._disk.free_bytes(self._directory) < self.segment_bytes:
            return False
        try:
            self._stock[name] = self._disk.open(self._place(name), create=True)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        return True

    def _allocate(self, name: str, size: int) -> bool:
        try:
            self._stock[name].allocate(size)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        return True


class Recovered:
    """All that `recover` found. `tail` is to be written at `mark` and synced before anything new is written.

    It holds the records above the last mark once more (a failed fsync may have left them in memory only), and zeros
    over what was torn.
    """

    def __init__(self, state: form.LogState, segments: list[Segment], file: File, salt: bytes) -> None:
        self.state = state
        self.segments = segments
        self.file = file
        self.salt = salt
        self.start = self.end = self.mark = self.last_group = 0
        self.tail = b""

    def make_durable(self, segment_bytes: int) -> None:
        """Whatever was found counts from now on, so let no later crash take it back."""
        if self.file.size() < segment_bytes:
            try:
                self.file.allocate(segment_bytes)
            except OSError as error:
                # A file that was cut short, on a full disk: the room that it has must do.
                if error.errno not in NO_ROOM:
                    raise
        if self.tail:
            self.file.pwrite(self.tail, self.mark)
        self.file.sync()


def last_by_other_key(segments: Sequence[Segment], key_id: int) -> int:
    """The last index in what was written before the segments at the end that are by this key: once a snapshot covers
    it, the rest can be dropped. 0 if all of them are, or if the last one is not.
    """
    since = len(segments)
    while since and segments[since - 1].key_id == key_id:
        since -= 1
    return segments[since].before_index if 0 < since < len(segments) else 0


def state_header(
    flags: int, base: tuple[int, int], term: int, voted_for: str | None, commit_index: int, configuration: Configuration
) -> form.SegmentHeader:
    """A header without what tells one file from another."""
    return form.SegmentHeader(flags, 1, bytes(form.SALT_BYTES), 0, *base, term, voted_for, commit_index, configuration)


def first_segment(files: SegmentFiles, entropy: Callable[[int], bytes]) -> Recovered:
    """Begin the journal of a node that has none. Raises StorageFull."""
    salt = entropy(form.SALT_BYTES)
    header = state_header(form.STARTS_LOG, (1, 0), 0, None, 1, Configuration(0, ()))._replace(salt=salt)
    segment, file, start = files.begin(header, 0, reserve=True)
    found = Recovered(form.LogState(header), [segment], file, salt)
    found.start = found.end = found.mark = found.last_group = start
    return found


def recover(disk: Disk, files: SegmentFiles, sequences: list[int]) -> Recovered:
    """Read the journal back by the rule at the head of `journal_format`. Changes nothing. Raises CorruptData, and
    WrongKey.
    """
    heads = _headers(disk, files, sequences)
    ciphers = [files.cipher_of(head) for head in heads]
    state = form.LogState(heads[0])
    segments: list[Segment] = []
    for place, head in enumerate(heads):
        path = files.path(head.sequence)
        key_id, cipher = head.key.key_id if head.key is not None else PLAIN, ciphers[place]
        segments.append(Segment(head.sequence, path, head.base_index, head.base_term, key_id, cipher))
        if state.entries[-1][1:] != (head.base_index, head.base_term):
            _, index, term = state.entries[-1]
            problem = (
                f"the log before it ends with entry {index} of term {term}, "
                f"not with entry {head.base_index} of term {head.base_term}"
            )
            raise CorruptData(path, 0, problem, form.ADVICE)
        file = disk.open(path)
        try:
            if file.size() > limits.SEGMENT_BYTES_MAX:
                raise CorruptData(path, file.size(), "no segment is as long as this", form.ADVICE)
            data = file.pread(file.size(), 0)
        except (OSError, CorruptData):
            file.close()
            raise
        if place + 1 < len(heads):
            file.close()
            _replay_earlier(data, heads[place + 1].previous_end, state, path, cipher)
        else:
            recovered = Recovered(state, segments, file, head.salt)
            try:
                _replay_last(data, recovered, path, cipher)
            except CorruptData:
                file.close()
                raise
        for cut in state.truncations:
            for segment in segments:
                segment.cut(*cut)
        state.truncations.clear()
    state.commit_index = max(state.commit_index, state.entries[0][1])
    if state.commit_index > state.entries[-1][1]:
        problem = f"the commit index is {state.commit_index}, but the log ends with entry {state.entries[-1][1]}"
        raise CorruptData(segments[-1].path, recovered.end, problem, form.ADVICE)
    return recovered


def _headers(disk: Disk, files: SegmentFiles, sequences: list[int]) -> list[form.SegmentHeader]:
    """Headers of the segments that matter, in order: behind the last gap, from the last that starts the log anew."""
    heads: list[form.SegmentHeader] = []
    for sequence in reversed(sequences):
        if heads and sequence != heads[-1].sequence - 1:
            break
        path = files.path(sequence)
        file = disk.open(path)
        try:
            # The header is far smaller than this; the zeros behind it are looked at when all is read.
            head, _ = form.decode_header(file.pread(limits.SEGMENT_HEADER_BYTES * 4, 0), path)
        finally:
            file.close()
        if head.sequence != sequence:
            raise CorruptData(path, 0, f"this is segment {head.sequence} under another name", form.ADVICE)
        heads.append(head)
        if head.flags & form.STARTS_LOG:
            break
    heads.reverse()
    return heads


def _replay(
    data: bytes, start: int, salt: bytes, state: form.LogState, path: str, cipher: Cipher | None
) -> form.Records:
    if cipher is None:
        return form.replay(data, start, salt, state, path)
    return replay_sealed(data, start, salt, state, path, cipher)


def _replay_earlier(data: bytes, end: int, state: form.LogState, path: str, cipher: Cipher | None) -> None:
    """A segment with a successor was durable up to its `end`, and zeros from there on."""
    head, start = form.decode_header(data, path)
    if end < start:
        raise CorruptData(path, end, "the segment after it says that it ended within its header", form.ADVICE)
    found = _replay(data[:end], start, head.salt, state, path, cipher)
    if found.end != end:
        raise CorruptData(path, found.end, "a record that was durable has changed", form.ADVICE)
    unused = data[end:]
    if unused.count(0) != len(unused):
        offset = len(data) - len(unused.lstrip(b"\0"))
        raise CorruptData(path, offset, "the zeros behind the last record have changed", form.ADVICE)


def _replay_last(data: bytes, recovered: Recovered, path: str, cipher: Cipher | None) -> None:
    """The segment that is written to may end in a group that was never finished."""
    head, start = form.decode_header(data, path)
    found = _replay(data, start, head.salt, recovered.state, path, cipher)
    later = form.later_mark(data, found.end, head.salt)
    if later is not None:
        problem = f"a record that was durable has changed (the group at offset {later} says so)"
        raise CorruptData(path, found.end, problem, form.ADVICE)
    recovered.start, recovered.end, recovered.mark, recovered.last_group = start, *found
    torn = data[found.end :].rstrip(b"\0")
    recovered.tail = data[found.mark : found.end] + bytes(len(torn))

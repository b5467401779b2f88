"""Snapshots on disk: written beside the log, put in place by a rename, checked down to the last bit before use.

    magic 8 | crc32c u32 | length u32 | version u16, flags u16, key id u32, index u64, term u64, configuration
    frame:    crc32c u32 | stored u32 | plain u32 | `stored` bytes of lz4, which unpack to `plain` bytes
    trailer:  crc32c u32 | 0 u32 | 0 u32 | number of frames u64, length of the file u64, crc32c of all before it u32

Each checksum covers all that stands behind it in its line. A file gets its final name only when every byte of it is
durable, so a difference in a file with a final name is never a torn write: `CorruptData`, and no older file is taken in
its stead, because the log may already have been cut to the newer one. Files ending in `.tmp` are leftovers.

All of that may lie within an encrypted file (`sealed_file`). A follower gets the file within, and encrypts it with its
own key; a backup is the file as it is stored.

Writers may be driven from a worker thread; the store itself may be used from the event loop at the same time.
"""

import os
import struct
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

import google_crc32c
import lz4.frame
import msgpack

from kvstore import limits
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import Disk, File
from kvstore.consensus.journal_format import ADVICE
from kvstore.consensus.sealed_file import create_sealed, open_clear
from kvstore.consensus.segments import NO_ROOM
from kvstore.errors import CorruptData, StorageFull
from kvstore.vault.envelope import NO_KEYS, Vault
from kvstore.vault.keys import PLAIN

MAGIC: Final = b"kvsnap\r\n"
FORMAT_VERSION: Final = 1
_NEWER: Final = "Start the version of kvstore that wrote it, or a later one."
_SUFFIX: Final = ".snap"
_TMP: Final = ".tmp"

_PREAMBLE = struct.Struct("<8sII")
_HEADER = struct.Struct("<HHIQQ")
_FRAME = struct.Struct("<III")
_SIZES = struct.Struct("<II")
_TRAILER = struct.Struct("<QQI")
_CRC = struct.Struct("<I")
_TRAILER_BYTES = _FRAME.size + _TRAILER.size
_HEADER_BYTES_MAX = limits.SEGMENT_HEADER_BYTES * 4
# Whatever cannot be compressed grows by less than that.
_STORED_BYTES_MAX: Final = limits.DECOMPRESSED_BYTES_MAX + (limits.DECOMPRESSED_BYTES_MAX >> 7) + 1024

_value = google_crc32c.value
_extend = google_crc32c.extend


class SnapshotInfo(NamedTuple):
    """A durable, checked snapshot: the state after entry `index` of `term`; `size` in bytes, decrypted; `key_id`: of
    the key that it is encrypted with, 0 if it is not.
    """

    # A field hides tuple.index, which nobody asks a snapshot for.
    index: int  # type: ignore[assignment]
    term: int
    size: int
    path: str
    configuration: Configuration
    key_id: int = PLAIN


def check_snapshot(disk: Disk, path: str, vault: Vault = NO_KEYS) -> SnapshotInfo:
    """Read the snapshot at `path`, wherever that is, from end to end. Raises CorruptData and WrongKey."""
    file, key_id = open_clear(disk, path, vault)
    try:
        for _ in _read(file, path, unpack=False):
            pass
        return _info(file, path, key_id)
    finally:
        file.close()


def snapshot_head(disk: Disk, path: str, vault: Vault = NO_KEYS) -> SnapshotInfo:
    """What the head of the snapshot at `path` says; the rest is not read. Raises CorruptData and WrongKey."""
    file, key_id = open_clear(disk, path, vault)
    try:
        return _info(file, path, key_id)
    finally:
        file.close()


def read_snapshot(disk: Disk, path: str, vault: Vault = NO_KEYS) -> Iterator[bytes]:
    """The frames of the snapshot at `path` as they were added, each checked and of bounded size. Raises CorruptData and
    WrongKey.
    """
    return _frames(open_clear(disk, path, vault)[0], path)


class SnapshotStore:
    """The snapshots in `directory`; the newest one counts, older ones are removed. New ones are encrypted as `vault`
    says.
    """

    def __init__(self, disk: Disk, directory: str, vault: Vault = NO_KEYS) -> None:
        self._vault = vault
        self._disk = disk
        self._directory = directory
        self._lock = threading.Lock()
        self._opened = False
        self._latest: SnapshotInfo | None = None

    def latest(self) -> SnapshotInfo | None:
        """The newest snapshot. The first call checks all of it and removes leftovers. Raises CorruptData."""
        with self._lock:
            if not self._opened:
                self._latest = self._open()
                self._opened = True
            return self._latest

    def open_latest(self) -> tuple[SnapshotInfo, File] | None:
        """The newest snapshot and its file, decrypted, before a newer one that is just being finished can take its
        place.
        """
        self.latest()
        with self._lock:
            if self._latest is None:
                return None
            return self._latest, open_clear(self._disk, self._latest.path, self._vault)[0]

    def open_stored(self) -> tuple[SnapshotInfo, File] | None:
        """The same, as it is stored, and with the size that it has there."""
        self.latest()
        with self._lock:
            if self._latest is None:
                return None
            file = self._disk.open(self._latest.path)
            return self._latest._replace(size=file.size()), file

    @property
    def current(self) -> bool:
        """Whether the newest snapshot is encrypted, or not, as a new one would be; also if there is none."""
        newest = self.latest()
        return newest is None or newest.key_id == self._vault.active

    def writer(self, index: int, term: int, configuration: Configuration) -> "SnapshotWriter":
        """Begin a snapshot of this node's own state. Raises StorageFull."""
        file, path, key_id = self._temporary(index, term, "own")
        return SnapshotWriter(self, file, path, SnapshotInfo(index, term, 0, "", configuration, key_id))

    def incoming(self, index: int, term: int, size: int) -> "IncomingSnapshot":
        """Begin to receive a snapshot of `size` bytes. Raises StorageFull if there is no room for all of it."""
        file, path, _ = self._temporary(index, term, "received")
        incoming = IncomingSnapshot(self, file, path, index, term, size)
        incoming.allocate()
        return incoming

    def frames(self, info: SnapshotInfo) -> Iterator[bytes]:
        """The frames as they were added, each checked and of bounded size. Raises CorruptData."""
        return read_snapshot(self._disk, info.path, self._vault)

    def _open(self) -> SnapshotInfo | None:
        if not self._disk.exists(self._directory):
            self._disk.mkdir(self._directory)
            self._disk.sync_dir(os.path.dirname(self._directory) or ".")
        # A rename that an earlier process did not live to make durable counts from now on.
        self._disk.sync_dir(self._directory)
        for name in self._disk.list(self._directory):
            if name.endswith(_TMP):
                self._disk.remove(os.path.join(self._directory, name))
        names = self._names()
        if not names:
            return None
        info = self.check(os.path.join(self._directory, names[-1]))
        if self.final(info.index, info.term) != info.path:
            raise CorruptData(info.path, 0, f"it holds entry {info.index} of term {info.term}, not its name's", ADVICE)
        self._remove_older(names[-1])
        return info

    def check(self, path: str) -> SnapshotInfo:
        """Read the snapshot at `path` from end to end. Raises CorruptData."""
        return check_snapshot(self._disk, path, self._vault)

    def put(self, temporary: str, info: SnapshotInfo) -> SnapshotInfo:
        """Give a durable, checked file its name. If a newer one is there by now, that one is returned instead; one of
        the same entry by another key is replaced.
        """
        self.latest()
        with self._lock:
            last = self._latest
            if last is not None and (last[:2] > info[:2] or (last[:2] == info[:2] and last.key_id == info.key_id)):
                self._disk.remove(temporary)
                return last
            self._disk.rename(temporary, info.path)
            self._disk.sync_dir(self._directory)
            self._latest = info
            self._remove_older(os.path.basename(info.path))
            return info

    def discard(self, temporary: str) -> None:
        """Remove what will never be finished."""
        if self._disk.exists(temporary):
            self._disk.remove(temporary)

    def final(self, index: int, term: int) -> str:
        """Where the snapshot up to entry `index` of `term` is, once it is whole."""
        return os.path.join(self._directory, f"{index:020d}-{term:020d}{_SUFFIX}")

    def _names(self) -> list[str]:
        return sorted(name for name in self._disk.list(self._directory) if name.endswith(_SUFFIX))

    def _remove_older(self, newest: str) -> None:
        for name in self._names():
            if name < newest:
                self._disk.remove(os.path.join(self._directory, name))

    def _temporary(self, index: int, term: int, origin: str) -> tuple[File, str, int]:
        self.latest()
        path = f"{self.final(index, term)}.{origin}{_TMP}"
        self.discard(path)
        try:
            file, key_id = create_sealed(self._disk, path, self._vault)
        except OSError as error:
            raise _full(error) from error
        return file, path, key_id


class _Unfinished:
    """A file that is not in its place yet. After `commit` or `abort` it takes nothing any more."""

    def __init__(self, store: SnapshotStore, file: File, path: str) -> None:
        self._store = store
        self._path = path
        self._file: File | None = file
        self._offset = 0

    def abort(self) -> None:
        """Give up; nothing is left. Nothing happens after `commit`."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._store.discard(self._path)

    def _open_file(self) -> File:
        if self._file is None:
            raise ValueError("this snapshot was committed or aborted")
        return self._file

    def _finish(self, info: SnapshotInfo) -> SnapshotInfo:
        file = self._open_file()
        file.sync()
        file.close()
        self._file = None
        return self._store.put(self._path, info)


class SnapshotWriter(_Unfinished):
    """Writes one snapshot of this node's own, frame by frame."""

    def __init__(self, store: SnapshotStore, file: File, path: str, info: SnapshotInfo) -> None:
        """For `SnapshotStore.writer` only."""
        super().__init__(store, file, path)
        index, term = info.index, info.term
        self._info = info._replace(path=store.final(index, term))
        self._frames = self._crc = 0
        wire = msgpack.packb(info.configuration.as_wire())
        length = _PREAMBLE.size + _HEADER.size + len(wire)
        rest = _CRC.pack(length) + _HEADER.pack(FORMAT_VERSION, 0, 0, index, term) + wire
        self._write(MAGIC + _CRC.pack(_value(rest)) + rest)

    def add(self, frame: bytes) -> None:
        """Append a frame of 1 to DECOMPRESSED_BYTES_MAX bytes. Raises StorageFull; abort then."""
        if not 0 < len(frame) <= limits.DECOMPRESSED_BYTES_MAX:
            raise ValueError(f"a frame of {len(frame)} bytes")
        stored = lz4.frame.compress(frame)
        sizes = _SIZES.pack(len(stored), len(frame))
        self._write(_CRC.pack(_extend(_value(sizes), stored)) + sizes + stored)
        self._frames += 1

    def commit(self) -> SnapshotInfo:
        """Make it durable and put it in place; older snapshots are removed. Raises StorageFull and OSError."""
        rest = _SIZES.pack(0, 0) + _TRAILER.pack(self._frames, self._offset + _TRAILER_BYTES, self._crc)
        self._write(_CRC.pack(_value(rest)) + rest)
        return self._finish(self._info._replace(size=self._offset))

    def _write(self, data: bytes) -> None:
        try:
            self._open_file().pwrite(data, self._offset)
        except OSError as error:
            raise _full(error) from error
        self._offset += len(data)
        self._crc = _extend(self._crc, data)


class IncomingSnapshot(_Unfinished):
    """Receives one snapshot of another node, in order."""

    def __init__(self, store: SnapshotStore, file: File, path: str, index: int, term: int, size: int) -> None:
        """For `SnapshotStore.incoming` only."""
        super().__init__(store, file, path)
        self._index = index
        self._term = term
        self._size = size

    @property
    def offset(self) -> int:
        """How many bytes are here; where the next write belongs."""
        return self._offset

    def allocate(self) -> None:
        """Take all the room it needs at once. Raises StorageFull, and is aborted then."""
        try:
            self._open_file().allocate(self._size)
        except OSError as error:
            self.abort()
            raise _full(error) from error

    def write(self, offset: int, data: bytes) -> None:
        """Add `data`. Raises ValueError unless it goes on at `offset` and ends within the size that was told."""
        if offset != self._offset or offset + len(data) > self._size:
            raise ValueError(f"{len(data)} bytes at {offset}: {self._offset} of {self._size} are here")
        self._open_file().pwrite(data, offset)
        self._offset += len(data)

    def commit(self) -> SnapshotInfo:
        """Check every byte, make it durable, put it in place. Raises CorruptData, and leaves nothing then."""
        file = self._open_file()
        try:
            if self._offset != self._size:
                raise CorruptData(
                    self._path, self._offset, "the snapshot was not received to its end", "Send it again."
                )
            file.sync()  # what is encrypted ends only with that
            info = self._store.check(self._path)
            if (info.index, info.term) != (self._index, self._term):
                problem = f"it holds entry {info.index} of term {info.term}, not what was announced"
                raise CorruptData(self._path, 0, problem, "Send it again.")
        except CorruptData:
            self.abort()
            raise
        return self._finish(info._replace(path=self._store.final(self._index, self._term)))


def _full(error: OSError) -> Exception:
    return StorageFull(f"there is no room for a snapshot: {error}") if error.errno in NO_ROOM else error


def _info(file: File, path: str, key_id: int) -> SnapshotInfo:
    index, term, configuration, _ = _read_header(file, path)
    return SnapshotInfo(index, term, file.size(), path, configuration, key_id)


def _read_header(file: File, path: str) -> tuple[int, int, Configuration, bytes]:
    """Index, term, configuration, and the bytes that they were read from."""
    data = file.pread(_HEADER_BYTES_MAX, 0)
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptData(path, 0, "this does not begin like a snapshot", ADVICE)
    if len(data) < _PREAMBLE.size + _HEADER.size:
        raise CorruptData(path, len(data), "the file ends within its header", ADVICE)
    _, crc, length = _PREAMBLE.unpack_from(data)
    if not _PREAMBLE.size + _HEADER.size <= length <= len(data) or _value(data[12:length]) != crc:
        raise CorruptData(path, len(MAGIC), "the snapshot's header has a wrong checksum", ADVICE)
    version, flags, key_id, index, term = _HEADER.unpack_from(data, _PREAMBLE.size)
    if version != FORMAT_VERSION or flags or key_id:
        raise CorruptData(path, 16, f"format version {version}, flags {flags}, key {key_id} are not known here", _NEWER)
    try:
        configuration = Configuration.from_wire(msgpack.unpackb(data[_PREAMBLE.size + _HEADER.size : length]))
    except (ValueError, msgpack.UnpackException) as broken:
        raise CorruptData(path, 16, f"the snapshot's header makes no sense: {broken}", ADVICE) from broken
    return index, term, configuration, data[:length]


def _read(file: File, path: str, *, unpack: bool) -> Iterator[bytes]:
    """Every frame, checked; the trailer too, once the last frame was taken. `unpack=False` leaves them as stored."""
    size = file.size()
    *_, head = _read_header(file, path)
    offset, frames, crc_all = len(head), 0, _value(head)
    while True:
        fixed = file.pread(_FRAME.size, offset)
        if len(fixed) < _FRAME.size:
            raise CorruptData(path, offset, "the file ends without its trailer", ADVICE)
        crc, stored, plain = _FRAME.unpack(fixed)
        if not stored:
            break
        too_large = stored > _STORED_BYTES_MAX or plain > limits.DECOMPRESSED_BYTES_MAX
        if offset + len(fixed) + stored > size or too_large:
            raise CorruptData(path, offset, "a frame reaches beyond the end, or is too large", ADVICE)
        body = file.pread(stored, offset + len(fixed))
        if _extend(_value(fixed[4:]), body) != crc:
            raise CorruptData(path, offset, "a frame has a wrong checksum", ADVICE)
        crc_all = _extend(_extend(crc_all, fixed), body)
        frames += 1
        if unpack:
            yield _unpack(body, plain, path, offset)
        else:
            yield body
        offset += len(fixed) + stored
    body = file.pread(_TRAILER.size, offset + len(fixed))
    if len(body) < _TRAILER.size or _extend(_value(fixed[4:]), body) != crc:
        raise CorruptData(path, offset, "the trailer has a wrong checksum", ADVICE)
    if _TRAILER.unpack(body) != (frames, size, crc_all) or plain:
        raise CorruptData(path, offset, "the trailer does not fit the frames before it, or the file's size", ADVICE)


def _frames(file: File, path: str) -> Iterator[bytes]:
    try:
        yield from _read(file, path, unpack=True)
    finally:
        file.close()


def _unpack(body: bytes, plain: int, path: str, offset: int) -> bytes:
    try:
        frame = lz4.frame.LZ4FrameDecompressor().decompress(body, max_length=plain)
    except RuntimeError as broken:
        raise CorruptData(path, offset, f"a frame cannot be unpacked: {broken}", ADVICE) from broken
    if len(frame) != plain:
        raise CorruptData(path, offset, f"a frame unpacks to {len(frame)} bytes, not {plain}", ADVICE)
    return frame

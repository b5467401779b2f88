"""A disk that loses what was not synced when its process ends, for machines where no image can be mounted.

`install` puts it between a node and the disk of the operating system. What is written is held back in memory until
`File.sync`, and what is created, renamed or removed until `sync_dir`: reads see it, the real files do not. So a SIGKILL
leaves exactly what a loss of power must leave, and any other end of the process too: who ends in an orderly way has
synced what counts. A node that skips an fsync loses what it acknowledged.

Held back are bytes, sizes and truncations, names. A file that was created lies under a hidden name until its directory
is synced; hidden files that a process has left behind are removed by the next one. Not held back: directories
themselves, which are there as soon as they are made. Always the whole of what was not synced is lost, never a part of
it: for parts there are `nemesis/torn_tail.py` and the simulator's disk.

A bug that is to be found with it is built in after it, so that an fsync that is skipped skips this one.
"""

import errno
import functools
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from kvstore.consensus.disk import OsDisk, OsFile

VARIABLE: Final = "KV_HELD_DISK"

T = TypeVar("T")

_HIDDEN: Final = ".held-"


class _Bytes:
    """What a file's writer has done since the last sync, in order: writes with their offset, and sizes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._done: list[tuple[int, bytes | None]] = []

    def write(self, data: bytes, offset: int) -> None:
        self._done.append((offset, bytes(data)))
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        self._done.append((size, None))
        self.size = size

    def over(self, found: bytes, size: int, offset: int) -> bytes:
        """What a read of `size` bytes at `offset` shows, if the real file holds `found` there."""
        seen = bytearray(found.ljust(size, b"\0"))
        for place, data in self._done:
            start = place - offset
            if data is None:
                if start < size:
                    first = max(start, 0)
                    seen[first:] = bytes(size - first)
            elif start < size and start + len(data) > 0:
                begin = max(start, 0)
                part = data[begin - start : size - start]
                seen[begin : begin + len(part)] = part
        return bytes(seen[: max(self.size - offset, 0)])

    def flush(self, fd: int) -> None:
        """Do it to the real file, and forget it."""
        for place, data in self._done:
            if data is not None:
                _write(fd, data, place)
            elif place > os.fstat(fd).st_size:
                os.posix_fallocate(fd, 0, place)
            else:
                os.ftruncate(fd, place)
        self._done.clear()


class _Names:
    """What has become of the names of a directory since its last sync.

    `real` has the real name of each file under a changed name, None for a name that is no more.
    """

    _numbers = itertools.count()

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.real: dict[str, str | None] = {}
        self._created: set[str] = set()
        for name in os.listdir(directory):
            if name.startswith(_HIDDEN):
                os.unlink(os.path.join(directory, name))

    def list(self) -> list[str]:
        there = {name for name in os.listdir(self.directory) if not name.startswith(_HIDDEN)}
        gone = {name for name, real in self.real.items() if real is None}
        return sorted((there - gone) | {name for name, real in self.real.items() if real is not None})

    def path(self, name: str) -> str:
        """Where the file is in truth. Raises FileNotFoundError."""
        real = self.real.get(name, name)
        if real is None:
            raise FileNotFoundError(os.path.join(self.directory, name))
        return os.path.join(self.directory, real)

    def exists(self, name: str) -> bool:
        real = self.real.get(name, name)
        return real is not None and os.path.lexists(os.path.join(self.directory, real))

    def create(self, name: str) -> str:
        hidden = f"{_HIDDEN}{next(self._numbers)}"
        self.real[name] = hidden
        self._created.add(hidden)
        return os.path.join(self.directory, hidden)

    def rename(self, source: str, target: str) -> None:
        real = os.path.basename(self.path(source))
        self.real[source] = None
        self.real[target] = real

    def remove(self, name: str) -> None:
        if not self.exists(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self.real[name] = None

    def flush(self, forget: Callable[[str], None]) -> None:
        """Do it to the real directory, and forget it. Whoever is in another's way goes first; `forget` hears of each
        file that goes.
        """
        moves = {real: name for name, real in self.real.items() if real not in (None, name)}
        kept = set(self.real.values())
        removed = {name for name, real in self.real.items() if real is None and name not in moves}
        while moves:
            real = next(real for real, name in moves.items() if name not in moves)
            target = os.path.join(self.directory, moves.pop(real))
            if os.path.exists(target):
                forget(target)
            os.replace(os.path.join(self.directory, real), target)
        for name in removed | (self._created - kept):
            path = os.path.join(self.directory, name)
            if os.path.exists(path):
                forget(path)
                os.unlink(path)
        self.real.clear()
        self._created.clear()


class _Held:
    """All that is held back in this process. Its methods take the place of those of OsFile and OsDisk."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], _Bytes] = {}
        self._directories: dict[str, _Names] = {}

    def bytes_of(self, file: OsFile) -> _Bytes:
        """By inode: whoever opens a file sees what others have written to it, as in the kernel's memory."""
        stat = os.fstat(file._fd)
        return self._files.setdefault((stat.st_dev, stat.st_ino), _Bytes(stat.st_size))

    def names_in(self, directory: str) -> _Names:
        real = os.path.realpath(directory)
        if real not in self._directories:
            self._directories[real] = _Names(real)
        return self._directories[real]

    def forget(self, path: str) -> None:
        """A file is about to go: its inode's number may be another's soon."""
        stat = os.stat(path)
        self._files.pop((stat.st_dev, stat.st_ino), None)


def install_if_wanted() -> None:
    """`install`, if the environment asks for it and nobody has yet."""
    if os.environ.pop(VARIABLE, ""):
        install()


def install() -> None:
    """From now on every OsFile and OsDisk of this process holds back."""
    held, lock = _Held(), threading.RLock()  # snapshots are written by a thread
    plain_pread, plain_sync, plain_sync_dir = OsFile.pread, OsFile.sync, OsDisk.sync_dir

    def pwrite(file: OsFile, data: bytes, offset: int) -> None:
        held.bytes_of(file).write(data, offset)

    def pread(file: OsFile, size: int, offset: int) -> bytes:
        return held.bytes_of(file).over(plain_pread(file, size, offset), size, offset)

    def size(file: OsFile) -> int:
        return held.bytes_of(file).size

    def allocate(file: OsFile, size: int) -> None:
        if size > held.bytes_of(file).size:
            held.bytes_of(file).resize(size)

    def truncate(file: OsFile, size: int) -> None:
        held.bytes_of(file).resize(size)

    def sync(file: OsFile) -> None:
        held.bytes_of(file).flush(file._fd)
        plain_sync(file)

    def opened(disk: OsDisk, path: str, *, create: bool = False) -> OsFile:
        directory, name = os.path.split(path)
        names = held.names_in(directory)
        if not create:
            return OsFile(os.open(names.path(name), os.O_RDWR | os.O_CLOEXEC))
        if exists(disk, path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return OsFile(os.open(names.create(name), os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o600))

    def exists(_disk: OsDisk, path: str) -> bool:
        directory, name = os.path.split(path)
        return Path(directory).is_dir() and held.names_in(directory).exists(name)

    def listed(_disk: OsDisk, directory: str) -> list[str]:
        return held.names_in(directory).list()

    def rename(_disk: OsDisk, source: str, target: str) -> None:
        held.names_in(os.path.dirname(source)).rename(os.path.basename(source), os.path.basename(target))

    def remove(_disk: OsDisk, path: str) -> None:
        held.names_in(os.path.dirname(path)).remove(os.path.basename(path))

    def sync_dir(disk: OsDisk, directory: str) -> None:
        held.names_in(directory).flush(held.forget)
        plain_sync_dir(disk, directory)

    for owner, name, replacement in (
        (OsFile, "pwrite", pwrite),
        (OsFile, "pread", pread),
        (OsFile, "size", size),
        (OsFile, "allocate", allocate),
        (OsFile, "truncate", truncate),
        (OsFile, "sync", sync),
        (OsDisk, "open", opened),
        (OsDisk, "exists", exists),
        (OsDisk, "list", listed),
        (OsDisk, "rename", rename),
        (OsDisk, "remove", remove),
        (OsDisk, "sync_dir", sync_dir),
    ):
        setattr(owner, name, _alone(lock, replacement))


def _alone(lock: threading.RLock, function: Callable[..., T]) -> Callable[..., T]:
    """One at a time."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> T:
        with lock:
            return function(*arguments, **named)

    return call


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written

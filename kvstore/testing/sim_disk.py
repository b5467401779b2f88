"""A disk in memory that can lose power, fill up and fail (the interface of `kvstore.consensus.disk`).

It keeps apart what a program sees and what would be there after a loss of power. A write is seen at once and is durable
after `File.sync`; a name is durable after `sync_dir` of the directory that it is in. Until then a crash may take

- any of the states that a sector of 512 bytes had since it was last synced, for each sector by itself: writes are lost,
  kept, reordered, or torn in the middle of a sector;
- any of the sizes that the file had since;
- any of the creations, renames and removals in a directory that are possible without those left out; a rename is whole
  or not at all.

Which, is up to a *fate*: a function that is asked for a number below n, where 0 is the oldest (durable) state and n - 1
the newest. `LOST` and `KEPT` are the two extremes; `KEPT` is also what a killed process leaves behind. A seeded
`random.Random(...).randrange` is everything between.

A failed sync behaves as on Linux: the bytes can still be read, but no later sync makes them durable unless they are
written again.
"""

import copy
import errno
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

SECTOR_BYTES: Final = 512

Fate = Callable[[int], int]


def LOST(states: int) -> int:  # noqa: N802 - one of two named fates
    """Nothing that was not synced survives."""
    return 0


def KEPT(states: int) -> int:  # noqa: N802 - one of two named fates
    """Everything survives."""
    return states - 1


class PowerLoss(BaseException):
    """The moment at which the program stops. Not an Exception: nothing may handle it and go on."""


class _Inode:
    """A file's bytes as they are seen, as they are durable, and the states between the two, sector by sector."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._durable = bytearray()
        self._sizes = [0]
        self._states: dict[int, list[bytes]] = {}
        self._dirty: set[int] = set()

    def write(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        self.resize(max(end, len(self.data)))
        first, last = offset // SECTOR_BYTES, (end + SECTOR_BYTES - 1) // SECTOR_BYTES
        for sector in range(first, last):
            self._states.setdefault(sector, [self._sector(self._durable, sector)])
        self.data[offset:end] = data
        for sector in range(first, last):
            self._states[sector].append(self._sector(self.data, sector))
            self._dirty.add(sector)

    def resize(self, size: int) -> None:
        seen = len(self.data)
        if size < seen:
            self.write(bytes(seen - size), size)
            del self.data[size:]
        elif size > seen:
            self.data += bytes(size - seen)
        if size != seen:
            self._sizes.append(size)

    def sync(self) -> None:
        size = len(self.data)
        del self._durable[size:]
        self._durable += bytes(size - len(self._durable))
        for sector in self._dirty:
            start = sector * SECTOR_BYTES
            self._durable[start : start + SECTOR_BYTES] = self.data[start : start + SECTOR_BYTES]
            del self._states[sector]
        self._dirty.clear()
        self._sizes = [size]

    def fail_to_sync(self) -> None:
        self._dirty.clear()

    def after_crash(self, fate: Fate) -> "_Inode":
        size = self._sizes[fate(len(self._sizes))]
        found = bytearray(self._durable[:size])
        found += bytes(size - len(found))
        for sector, states in sorted(self._states.items()):
            chosen = fate(len(states))
            content = states[chosen]
            if chosen and fate(9) == 4:
                torn = 1 + fate(SECTOR_BYTES - 1)
                content = content[:torn] + states[chosen - 1][torn:]
            start = sector * SECTOR_BYTES
            found[start : start + SECTOR_BYTES] = content[: max(size - start, 0)]
        inode = _Inode()
        inode.data, inode._durable, inode._sizes = found, bytearray(found), [size]
        return inode

    def alter(self, change: Callable[[bytearray], None]) -> None:
        """Change what is durable and what is seen, behind the program's back."""
        assert not self._states, "only a synced file can be damaged in a way that is well defined"
        change(self.data)
        self._durable[:] = self.data
        self._sizes = [len(self.data)]

    @staticmethod
    def _sector(data: bytearray, sector: int) -> bytes:
        start = sector * SECTOR_BYTES
        return bytes(data[start : start + SECTOR_BYTES]).ljust(SECTOR_BYTES, b"\0")


class _Directory:
    """Names as they are seen, as they are durable, and the changes between the two, in order."""

    def __init__(self) -> None:
        self.names: dict[str, _Inode | _Directory] = {}
        self._durable: dict[str, _Inode | _Directory] = {}
        self._changes: list[tuple[str | None, str | None, _Inode | _Directory]] = []

    def change(self, source: str | None, target: str | None, what: "_Inode | _Directory") -> None:
        """A creation (no source), a removal (no target) or a rename."""
        self._apply(self.names, source, target, what)
        self._changes.append((source, target, what))

    def sync(self) -> None:
        self._durable = dict(self.names)
        self._changes.clear()

    def after_crash(self, fate: Fate) -> "_Directory":
        names = dict(self._durable)
        for source, target, what in self._changes:
            if fate(2) and (source is None or names.get(source) is what):
                self._apply(names, source, target, what)
        found = _Directory()
        found.names = {name: what.after_crash(fate) for name, what in names.items()}
        found._durable = dict(found.names)
        return found

    @staticmethod
    def _apply(
        names: "dict[str, _Inode | _Directory]", source: str | None, target: str | None, what: "_Inode | _Directory"
    ) -> None:
        if source is not None:
            del names[source]
        if target is not None:
            names[target] = what


class SimFile:
    """An open file of a SimDisk."""

    def __init__(self, disk: "SimDisk", inode: _Inode) -> None:
        self._disk = disk
        self._inode: _Inode | None = inode
        disk.open_files += 1

    def pwrite(self, data: bytes, offset: int) -> None:
        inode = self._open()
        self._disk.take_step("pwrite")
        self._disk.take_room(offset + len(data) - len(inode.data))
        inode.write(data, offset)

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._open().data[offset : offset + size])

    def size(self) -> int:
        return len(self._open().data)

    def allocate(self, size: int) -> None:
        inode = self._open()
        self._disk.take_step("allocate")
        if size > len(inode.data):
            self._disk.take_room(size - len(inode.data))
            inode.resize(size)

    def truncate(self, size: int) -> None:
        inode = self._open()
        self._disk.take_step("truncate")
        self._disk.take_room(size - len(inode.data))
        inode.resize(size)

    def sync(self) -> None:
        inode = self._open()
        try:
            self._disk.take_step("sync")
        except OSError:
            inode.fail_to_sync()
            raise
        inode.sync()

    def close(self) -> None:
        if self._inode is not None:
            self._disk.open_files -= 1
        self._inode = None

    def _open(self) -> _Inode:
        if self._inode is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._inode


class SimDisk:
    """Files and directories by path. Relative and absolute paths mean the same: there is one root.

    `crash_at` = n makes the n-th operation that changes or syncs anything raise PowerLoss, before it does anything, and
    every later one too; `power_lost`, if set, is called just before. `operations` counts them.
    `failing["sync"] = errno.EIO` makes every sync fail until it is taken out; likewise pwrite, allocate, truncate, open
    (creating), rename, remove, mkdir, sync_dir. `capacity_bytes` bounds the sum of all file sizes.
    """

    def __init__(self, capacity_bytes: int = 1 << 40) -> None:
        self.capacity_bytes = capacity_bytes
        self.operations = 0
        self.crash_at: int | None = None
        self.power_lost: Callable[[], None] | None = None
        self.failing: dict[str, int] = {}
        self.open_files = 0
        self._root = _Directory()

    # -- the Disk protocol

    def open(self, path: str, *, create: bool = False) -> SimFile:
        directory, name = self._parent(path)
        if create:
            self.take_step("open")
            if name in directory.names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            directory.change(None, name, _Inode())
        return SimFile(self, self._inode(path))

    def exists(self, path: str) -> bool:
        try:
            self._find(path)
        except OSError:
            return False
        return True

    def list(self, directory: str) -> list[str]:
        return sorted(self._directory(directory).names)

    def mkdir(self, directory: str) -> None:
        self.take_step("mkdir")
        here = self._root
        for name in self._parts(directory):
            if name not in here.names:
                here.change(None, name, _Directory())
            below = here.names[name]
            if not isinstance(below, _Directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
            here = below

    def rename(self, source: str, target: str) -> None:
        directory, name = self._parent(source)
        other, new_name = self._parent(target)
        assert directory is other, "renames across directories are not modelled"
        inode = self._inode(source)
        self.take_step("rename")
        directory.change(name, new_name, inode)

    def remove(self, path: str) -> None:
        directory, name = self._parent(path)
        inode = self._inode(path)
        self.take_step("remove")
        directory.change(name, None, inode)

    def sync_dir(self, directory: str) -> None:
        found = self._directory(directory)
        self.take_step("sync_dir")
        found.sync()

    def free_bytes(self, directory: str) -> int:
        return max(self.capacity_bytes - sum(len(inode.data) for inode in self._inodes(self._root)), 0)

    # -- what can happen to it

    def after_crash(self, fate: Fate) -> "SimDisk":
        """The disk as it is found when the power is back. This one stays as it is, so that other fates can be tried."""
        found = SimDisk(self.capacity_bytes)
        found._root = self._root.after_crash(fate)
        return found

    def copy(self) -> "SimDisk":
        """The same disk once more, open files aside."""
        twin = copy.deepcopy(self)
        twin.open_files = 0
        return twin

    def flip(self, path: str, offset: int, bit: int = 0) -> None:
        """One bit of a synced file changes."""

        def change(data: bytearray) -> None:
            data[offset] ^= 1 << bit

        self._inode(path).alter(change)

    def cut(self, path: str, size: int) -> None:
        """A synced file loses everything from `size` on."""

        def change(data: bytearray) -> None:
            del data[size:]

        self._inode(path).alter(change)

    def read(self, path: str) -> bytes:
        """All that can be seen of a file."""
        return bytes(self._inode(path).data)

    # -- for the files

    def take_step(self, operation: str) -> None:
        """Count an operation; let it fail or the power go if that is due."""
        self.operations += 1
        if self.crash_at is not None and self.operations >= self.crash_at:
            if self.power_lost is not None:
                self.power_lost()
            raise PowerLoss
        if operation in self.failing:
            number = self.failing[operation]
            raise OSError(number, os.strerror(number))

    def take_room(self, more: int) -> None:
        """Fail with ENOSPC if the files cannot grow by `more` bytes."""
        if more > 0 and more > self.free_bytes(""):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # -- paths

    @staticmethod
    @lru_cache(maxsize=1_024)
    def _parts(path: str) -> tuple[str, ...]:
        return tuple(part for part in PurePosixPath(path).parts if part not in ("/", "."))

    def _find(self, path: str) -> _Inode | _Directory:
        here: _Inode | _Directory = self._root
        for name in self._parts(path):
            if not isinstance(here, _Directory) or name not in here.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            here = here.names[name]
        return here

    def _inode(self, path: str) -> _Inode:
        found = self._find(path)
        if not isinstance(found, _Inode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return found

    def _directory(self, path: str) -> _Directory:
        found = self._find(path)
        if not isinstance(found, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return found

    def _parent(self, path: str) -> tuple[_Directory, str]:
        return self._directory(os.path.dirname(path)), os.path.basename(path)

    def _inodes(self, directory: _Directory) -> Iterator[_Inode]:
        for what in directory.names.values():
            if isinstance(what, _Inode):
                yield what
            else:
                yield from self._inodes(what)

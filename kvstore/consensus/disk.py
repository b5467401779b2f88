"""The narrow view of a disk that the journal and the snapshot store need, and the real one.

A simulator hands them another, which loses unsynced bytes at a crash. A name becomes durable (created, renamed or
removed) only by `sync_dir`, bytes only by `File.sync`.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """An open file, written at explicit offsets."""

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`. Raises OSError (ENOSPC for a full disk)."""

    def pread(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset`; fewer at the end of the file."""

    def size(self) -> int:
        """Length in bytes."""

    def allocate(self, size: int) -> None:
        """Reserve blocks so that writes below `size` cannot fail for lack of room; extends the file with zeros."""

    def truncate(self, size: int) -> None:
        """Cut or extend to `size` bytes."""

    def sync(self) -> None:
        """Return once every byte written so far is durable (fdatasync)."""

    def close(self) -> None:
        """Release the file; does not sync."""


class Beside(Protocol):
    """Carries out one blocking call at a time beside the event loop."""

    def start(self, work: Callable[[], None], done: Callable[[OSError | None], None]) -> None:
        """Begin `work`. `done` is called once, on the loop, with what it raised. Nothing else may be under way."""

    def finish(self) -> None:
        """Return when nothing is under way: `done` has been called."""


class Disk(Protocol):
    """Files by path. Paths are plain strings, absolute or relative to the process."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing. `create=True` makes it, and fails if it exists."""

    def exists(self, path: str) -> bool:
        """Whether `path` is there."""

    def list(self, directory: str) -> list[str]:
        """Names in `directory`, sorted."""

    def mkdir(self, directory: str) -> None:
        """Make the directory and its parents; nothing happens if it is there."""

    def rename(self, source: str, target: str) -> None:
        """Atomically put `source` in the place of `target`."""

    def remove(self, path: str) -> None:
        """Remove a file."""

    def sync_dir(self, directory: str) -> None:
        """Make creations, renames and removals in `directory` durable."""

    def free_bytes(self, directory: str) -> int:
        """Room left for an unprivileged writer."""


class OsFile:
    """A file of the operating system."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pwrite(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view = view[written:]
            offset += written

    def pread(self, size: int, offset: int) -> bytes:
        pieces = []
        while size:
            piece = os.pread(self._fd, size, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def allocate(self, size: int) -> None:
        if size > self.size():
            os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class OsDisk:
    """The disk of the operating system."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return OsFile(os.open(path, flags, 0o600))

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def list(self, directory: str) -> list[str]:
        return sorted(os.listdir(directory))

    def mkdir(self, directory: str) -> None:
        Path(directory).mkdir(parents=True, exist_ok=True, mode=0o700)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def sync_dir(self, directory: str) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, directory: str) -> int:
        room = os.statvfs(directory)
        return room.f_bavail * room.f_frsize


def read_whole(disk: Disk, path: str, bytes_max: int) -> bytes:
    """All of a small file. Raises OSError when it is larger than `bytes_max`."""
    file = disk.open(path)
    try:
        if file.size() > bytes_max:
            raise OSError(f"{path} is larger than {bytes_max} bytes")
        return file.pread(file.size(), 0)
    finally:
        file.close()


def write_whole(disk: Disk, directory: str, name: str, pieces: Iterable[bytes]) -> None:
    """Durably put a file in place: temporary file, fsync, rename, directory fsync."""
    temporary = os.path.join(directory, name + ".tmp")
    if disk.exists(temporary):
        disk.remove(temporary)
    file = disk.open(temporary, create=True)
    try:
        offset = 0
        for piece in pieces:
            file.pwrite(piece, offset)
            offset += len(piece)
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, os.path.join(directory, name))
    disk.sync_dir(directory)

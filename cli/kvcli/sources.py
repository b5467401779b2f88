"""Where `kv import` takes keys and values from: ndjson, or the files of a directory tree."""

import os
import stat
from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase
from typing import BinaryIO, NamedTuple

from kvcli.ndjson import LineTooLong, decode_line, read_lines
from kvcli.output import printable
from kvstore import limits


class Item(NamedTuple):
    """A key to write. `where` says where it came from, for messages."""

    key: bytes
    value: bytes
    where: str


class Problem(NamedTuple):
    """Something that is not written. `by_rule`: a rule or an option says so; else the import is incomplete."""

    where: str
    reason: str
    by_rule: bool


async def from_ndjson(source: BinaryIO, name: str) -> AsyncIterator[Item | Problem]:
    """The lines of `source`; empty lines are passed over. A line that is too long ends the reading."""
    number = 0
    try:
        async for line in read_lines(source):
            number += 1
            if not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                key, value = decode_line(line)
            except ValueError as wrong:
                yield Problem(where, str(wrong), by_rule=False)
                continue
            yield _checked(key, value, where)
    except LineTooLong:
        limit = limits.IMPORT_LINE_BYTES_MAX
        yield Problem(f"{name}:{number + 1}", f"longer than {limit:,} bytes; what follows was not read", by_rule=False)


class Tree:
    """The files below a directory. `files` are (path, relative path), in order; `problems` is what was passed over."""

    def __init__(self, directory: str, include: Sequence[str], skip_too_large: bool) -> None:
        self._skip_too_large = skip_too_large
        self._patterns = [os.fsencode(pattern) for pattern in include]
        self.files: list[tuple[bytes, bytes]] = []
        self.problems: list[Problem] = []
        root = os.fsencode(directory)
        self._walk(root, b"")

    async def items(self, prefix: bytes) -> AsyncIterator[Item | Problem]:
        """The files' contents, each under `prefix` and its path relative to the directory, with slashes."""
        for problem in self.problems:
            yield problem
        for path, relative in self.files:
            yield self._read(path, prefix + relative)

    def _walk(self, directory: bytes, relative: bytes) -> None:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as failed:
            self.problems.append(Problem(_shown(directory), failed.strerror or str(failed), by_rule=False))
            return
        for entry in entries:
            path, below = entry.path, relative + entry.name
            if entry.is_symlink():
                if self._matches(below):
                    self.problems.append(Problem(_shown(path), "a symbolic link", by_rule=True))
            elif entry.is_dir(follow_symlinks=False):
                self._walk(path, below + b"/")
            elif self._matches(below):
                if entry.is_file(follow_symlinks=False):
                    self.files.append((path, below))
                else:
                    self.problems.append(Problem(_shown(path), "not a regular file", by_rule=True))

    def _matches(self, relative: bytes) -> bool:
        name = relative.rpartition(b"/")[2]
        return not self._patterns or any(fnmatchcase(name, p) or fnmatchcase(relative, p) for p in self._patterns)

    def _read(self, path: bytes, key: bytes) -> Item | Problem:
        try:
            # A file may have become a link or a pipe since the walk.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    return Problem(_shown(path), "not a regular file", by_rule=True)
                value = file.read(limits.VALUE_BYTES_MAX + 1)
        except OSError as failed:
            return Problem(_shown(path), failed.strerror or str(failed), by_rule=False)
        return _checked(key, value, _shown(path), self._skip_too_large)


def _checked(key: bytes, value: bytes, where: str, skip_too_large: bool = False) -> Item | Problem:
    if not 1 <= len(key) <= limits.KEY_BYTES_MAX:
        return Problem(where, f"a key of {len(key):,} bytes; 1 to {limits.KEY_BYTES_MAX:,} are allowed", by_rule=False)
    if len(value) > limits.VALUE_BYTES_MAX:
        return Problem(where, f"a value above the limit of {limits.VALUE_BYTES_MAX:,} bytes", by_rule=skip_too_large)
    return Item(key, value, where)


def _shown(path: bytes) -> str:
    return printable(path)

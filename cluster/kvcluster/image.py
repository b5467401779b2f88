"""A file system in a file: what its disk would hold after a power loss can be copied while it is mounted. Needs root.

What a program has written, but not synced, is in the memory of the mounted file system and not yet in the file, or
only part of it. A copy of the file, taken while nobody writes, is what a machine would find after its power came back.
"""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from kvstore.errors import LocalError

# Much longer than a run: so only what is synced gets to the image, or what the kernel must write.
_OPTIONS: Final = "loop,noatime,commit=600"

_BUSY_S_MAX: Final = 10.0
_POLL_S: Final = 0.05


class MountFailed(LocalError):
    """The image cannot be made, mounted or unmounted."""

    exit_code = 4


class Image:
    """An ext4 file system of `size` bytes in the file `path`."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size

    def make(self) -> None:
        """A new, empty one. Raises MountFailed."""
        with self.path.open("wb") as file:
            file.truncate(self._size)
        _do("mkfs.ext4", "-q", "-F", "-m", "0", str(self.path))

    def mount(self, at: Path) -> None:
        """Raises MountFailed."""
        _do("mount", "-o", _OPTIONS, str(self.path), str(at))

    def unmount(self, at: Path) -> None:
        """The kernel closes the files of a killed process a little after its end. Raises MountFailed."""
        deadline = time.monotonic() + _BUSY_S_MAX
        while True:
            try:
                _do("umount", str(at))
                return
            except MountFailed as failed:
                if "busy" not in str(failed) or time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_S)

    def copy(self, path: Path) -> "Image":
        """What the disk holds now, as an image of its own."""
        _do("cp", "--sparse=always", str(self.path), str(path))
        return Image(path, self._size)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def copy_tree(source: Path, target: Path) -> None:
    """All files below `source` into the existing directory `target`, and nothing else of it."""
    for entry in source.iterdir():
        if entry.name == "lost+found":
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name)
        else:
            shutil.copy2(entry, target / entry.name)


def _do(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise MountFailed(f"{command[0]}: {ended.stderr.strip() or f'status {ended.returncode}'}")

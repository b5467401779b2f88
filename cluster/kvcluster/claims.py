"""Which ports belong to clusters that are there, whether their nodes run now or not.

A port on which a dead node is to listen again looks free. So each cluster notes its ports in a folder that all clusters
of this user share, and nobody else chooses them. A note counts as long as the cluster's file is there and names the
port: what is gone needs no clearing up.
"""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def claim(ports: Iterable[int], file: Path) -> None:
    """They belong to the cluster that `file` describes. Best effort: without it, a port may be chosen twice."""
    with suppress(OSError):
        folder = _folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        for port in ports:
            (folder / str(port)).write_text(str(file))


def claimed(port: int) -> bool:
    """Whether it belongs to a cluster that is there."""
    note = _folder() / str(port)
    try:
        if str(port) in Path(note.read_text()).read_text():
            return True
        note.unlink(missing_ok=True)
    except FileNotFoundError:
        note.unlink(missing_ok=True)
    except (OSError, ValueError):
        pass
    return False


def owner(port: int) -> Path | None:
    """The file of the cluster that it belongs to, if it belongs to one that is there."""
    try:
        if _folder().stat().st_uid != os.getuid():
            return None
        file = Path((_folder() / str(port)).read_text())
        return file if str(port) in file.read_text() else None
    except (OSError, ValueError):
        return None


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"kv-ports-{os.getuid()}"

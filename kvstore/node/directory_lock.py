"""One process at a time works on a data directory."""

import fcntl
import os
import time
from typing import IO, Final

from kvstore.errors import LocalError

# A process that was killed a moment ago may hold it until the last of its threads has ended.
_PATIENCE_S: Final = 1.0
_POLL_S: Final = 0.02


class DirectoryInUse(LocalError):
    """Another process works on this data directory."""

    exit_code = 7


def hold(directory: str) -> IO[str]:
    """Keep others out until the file is closed. Blocks for a second at most. Raises DirectoryInUse."""
    file = open(os.path.join(directory, "lock"), "w")  # noqa: SIM115 - held by the caller
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            if time.monotonic() > give_up:
                file.close()
                raise DirectoryInUse(f"{directory} is used by another process; stop that one first") from None
            time.sleep(_POLL_S)

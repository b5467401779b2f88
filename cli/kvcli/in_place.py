"""Files that appear under their name only when they are complete."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def in_place(file: str) -> Iterator[str]:
    """A path to write to, which takes the place of `file` when the block ends, and is removed if it fails. Something
    that is no regular file (a device, a pipe) is written as it comes.
    """
    if os.path.exists(file) and not os.path.isfile(file):
        yield file
        return
    target = f"{file}.{secrets.token_hex(4)}.partial"
    try:
        yield target
        os.replace(target, file)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(target)
        raise

"""The lines of earlier shells: where they are kept, and which are not."""

import os
import re
from pathlib import Path
from typing import Final

from kvstore import limits

_SECRET: Final = re.compile(r"passw|passphrase|token|secret", re.IGNORECASE)


def path() -> Path:
    """The file, by the rules of XDG. Its directory need not be there."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state and os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "kv" / "history"


def worth_keeping(line: str) -> bool:
    """Whether a line may be written down: not if it begins with a blank, or may hold a secret."""
    return bool(line.strip()) and not line[0].isspace() and _SECRET.search(line) is None


def prepare(file: Path) -> None:
    """Make `file`, or cut it to its newest lines; readable and writable by its owner only. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as opened:
        os.fchmod(descriptor, 0o600)
        lines = opened.read().split(b"\n")
        if len(lines) > limits.SHELL_HISTORY_LINES_MAX:
            opened.seek(0)
            opened.write(b"\n".join(lines[-limits.SHELL_HISTORY_LINES_MAX :]))
            opened.truncate()

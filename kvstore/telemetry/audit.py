"""The audit log: who asked for what, and what became of it, as JSON lines in files of bounded number and size.

Nothing in it is a value or a secret: keys, names, addresses and outcomes only. It never keeps the loop waiting: entries
are handed to a thread that writes them, through a queue of bounded length; what does not fit, or cannot be written, is
counted. What is written is not synced: it is a record for people, and no promise rests on it.

The file is `path`; once it has AUDIT_FILE_BYTES_MAX, it becomes `path.1`, that `path.2`, and so on; the oldest beyond
AUDIT_FILES_MAX goes.
"""

import contextlib
import json
import os
import queue
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from kvstore import limits

log = structlog.get_logger("kvstore.audit")

_KEYS_MAX: Final = 16


class AuditLog:
    """`kinds`: of those in the table of settings, what is written. Raises OSError if the file cannot be written to."""

    def __init__(self, path: str, kinds: Sequence[str], node: str) -> None:
        self.kinds = frozenset(kinds)
        self.written_total = 0
        self.lost_total = 0
        self._path = path
        self._node = node
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(limits.AUDIT_WAITING_MAX)
        self._file = self._open()  # an address that cannot be written to is told before the node serves
        self._size = self._file.tell()
        self._complained = False
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def wants(self, kind: str | None, *, refused: bool) -> bool:
        """Whether something of this kind is written; `refused`: for want of a right, or of a name."""
        return kind in self.kinds or (refused and "refused" in self.kinds)

    def note(self, *, keys: Sequence[bytes] = (), **entry: Any) -> None:
        """One entry, of what `wants` has agreed to. Never waits."""
        told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "node": self._node, **entry}
        if keys:
            told["keys"] = [_shown(key) for key in keys[:_KEYS_MAX]]
            if len(keys) > _KEYS_MAX:
                told["keys_total"] = len(keys)
        try:
            self._waiting.put_nowait(told)
        except queue.Full:
            self.lost_total += 1

    def close(self) -> None:
        """Write what waits, and end."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=1.0)
        self._thread.join(timeout=2.0)

    # -- the thread

    def _write(self) -> None:
        while (entry := self._waiting.get()) is not None:
            line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
            try:
                if self._size + len(line) > limits.AUDIT_FILE_BYTES_MAX and self._size:
                    self._rotate()
                self._file.write(line)
                if self._waiting.empty():
                    self._file.flush()
                self._size += len(line)
                self.written_total += 1
                self._complained = False
            except (OSError, ValueError) as failed:
                self.lost_total += 1
                if not self._complained:
                    log.error("audit_log_failed", file=self._path, error=str(failed))
                    self._complained = True
                with contextlib.suppress(OSError, ValueError):
                    self._file.close()
                with contextlib.suppress(OSError):
                    self._file = self._open()
                    self._size = self._file.tell()
        with contextlib.suppress(OSError, ValueError):
            self._file.close()

    def _open(self) -> Any:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "ab")
        file.seek(0, os.SEEK_END)
        return file

    def _rotate(self) -> None:
        self._file.close()
        for number in range(limits.AUDIT_FILES_MAX - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = self._path if number == 1 else f"{self._path}.{number - 1}"
            if os.path.exists(newer):
                os.replace(newer, older)
        self._file = self._open()
        self._size = 0


def _shown(key: bytes) -> str:
    some = key[: limits.AUDIT_KEY_BYTES_MAX]
    return some.decode("utf-8", "backslashreplace") + ("..." if len(key) > len(some) else "")

"""What goes on for long: a watch or a backup of one caller ends as soon as it may not be told any more."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from kvstore.errors import KvError
from kvstore.guard.gate import Gate


class Ended(NamedTuple):
    """A watch that ended, and where another one can begin."""

    why: Literal["closed"]
    revision: int


class GuardedWatch:
    """`watch`, a kvstore.http.store.Watch. `check` raises when the caller may not watch any more."""

    def __init__(self, watch: Any, gate: Gate, check: Callable[[], object]) -> None:
        self._watch = watch
        self._gate = gate
        self._check = check
        self.forbidden = False
        """Whether it ended because of that."""
        gate.streams.add(self)

    @property
    def revision(self) -> int:
        """Everything up to it has been told."""
        revision: int = self._watch.revision
        return revision

    async def changes(self, at: float) -> Any:
        """The next changes, or why it ended; `closed` when the caller may not see them any more. What it may not see it
        is not told, and whoever goes on elsewhere with a newer token misses nothing.
        """
        told = self.revision
        if not self._allowed():
            return self._ended(told)
        found = await self._watch.changes(at)
        return found if self._allowed() else self._ended(told)

    def _allowed(self) -> bool:
        try:
            self._check()
        except Exception:  # each door has words of its own for it
            self.forbidden = True
        return not self.forbidden

    def _ended(self, told: int) -> Ended:
        self.close()
        return Ended("closed", told + 1)

    def look(self) -> None:
        """Users or roles have changed: who waits looks again at once."""
        self._watch.wake()

    def close(self) -> None:
        """Nobody reads it any more. Harmless when repeated."""
        self._gate.streams.discard(self)
        self._watch.close()


class GuardedBackup:
    """`backup`, a kvstore.http.store.Backup. `check` raises when the caller may not read on."""

    def __init__(self, backup: Any, check: Callable[[], object]) -> None:
        self._backup = backup
        self._check = check
        self.index: int = backup.index
        self.size: int = backup.size

    async def read(self, offset: int) -> bytes:
        """The next bytes from `offset` on; none at the end."""
        try:
            self._check()
        except KvError as refused:
            # The status is sent already: the stream breaks off, which nobody takes for the whole.
            raise ConnectionAbortedError("the caller may not read on") from refused
        part: bytes = await self._backup.read(offset)
        return part

    def close(self) -> None:
        """It is not read any more. Harmless when repeated."""
        self._backup.close()

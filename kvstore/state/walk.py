"""A walk over a sorted map as it was at one moment, a chunk at a time, while the map goes on changing.

Copy on write, key by key. The walk has a cursor: keys below it are done with, and may change freely. The first change
of a key at or above the cursor saves its old value (or that it was absent). A chunk is made of the present keys and of
the removed ones, in order, where a saved value stands above the present one. So no step takes longer than a chunk, and
memory grows only with what is changed during the walk.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final, Generic, TypeVar

from sortedcontainers import SortedList

from kvstore.model.keys import successor

V = TypeVar("V")


class _Absent:
    """The type of the mark for keys that did not exist when the walk began."""


_ABSENT: Final = _Absent()


class Walk(Generic[V]):
    """One walk; made by `Keyspace.walk`. `done` turns true once every key has been delivered."""

    __slots__ = ("_cursor", "_ended", "_keys", "_removed", "_saved", "_values", "done")

    def __init__(self, keys: "SortedList[bytes]", values: Mapping[bytes, V], ended: Callable[[], None]) -> None:
        self._keys = keys
        self._values = values
        self._ended = ended
        self._cursor = b""
        self._saved: dict[bytes, V | _Absent] = {}
        self._removed: SortedList[bytes] = SortedList()
        self.done = False

    @property
    def held(self) -> int:
        """How much is kept for this walk: old values, and keys that were removed."""
        return len(self._saved) + len(self._removed)

    def before_put(self, key: bytes) -> None:
        """`key` is about to get another value."""
        if key >= self._cursor and key not in self._saved:
            self._saved[key] = self._values.get(key, _ABSENT)

    def before_remove(self, key: bytes) -> None:
        """`key` is about to be removed."""
        if key < self._cursor or key not in self._values:
            return
        if self._saved.setdefault(key, self._values[key]) is _ABSENT:
            del self._saved[key]
        elif key not in self._removed:
            self._removed.add(key)

    def chunk(self, count_max: int, bytes_max: int, size: Callable[[bytes, V], int]) -> list[tuple[bytes, V]]:
        """The next keys and values in order: at most `count_max`, of at most `bytes_max` by `size`; one always fits.

        May be shorter, even empty, before the end: keys that are younger than the walk are stepped over, and count
        as work.
        """
        present = list(islice(self._keys.irange(self._cursor), count_max))
        removed = list(islice(self._removed.irange(self._cursor), count_max)) if self._removed else []
        candidates = sorted({*present, *removed}) if removed else present
        found: list[tuple[bytes, V]] = []
        room = bytes_max
        passed = 0
        # Where a list was cut off no key is left out: its own `count_max` keys precede all that lies beyond its end.
        for key in candidates[:count_max]:
            value = self._saved[key] if key in self._saved else self._values[key]
            if not isinstance(value, _Absent):
                room -= size(key, value)
                if room < 0 and found:
                    break
                found.append((key, value))
            passed += 1
        self.done = passed == len(candidates) and max(len(present), len(removed)) < count_max
        self._pass(candidates[:passed])
        return found

    def close(self) -> None:
        """Let go of everything saved. Harmless when repeated."""
        if self._ended is not _nothing:
            ended, self._ended = self._ended, _nothing
            self._saved.clear()
            self._removed.clear()
            ended()

    def _pass(self, keys: list[bytes]) -> None:
        if keys:
            self._cursor = successor(keys[-1])
        if self._saved:
            for key in keys:
                if self._saved.pop(key, _ABSENT) is not _ABSENT:
                    self._removed.discard(key)


def _nothing() -> None:
    pass

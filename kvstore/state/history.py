"""History: what each revision changed, for as far back as is kept.

H1. Every change of a key is kept with the key's record before and after it, until the history has more changes or bytes
    than the replicated settings allow. Then the oldest revision is forgotten, and `compacted` is that revision.
H2. State and changes are known for every revision above `compacted`, and the state at it.
H3. `compacted` never falls. It also covers every tombstone that was dropped, so that a key without a record and without
    a tombstone has not changed since.
H4. The changes of one revision stand in the order of their keys.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Final

from kvstore.state.raw import RawRecord
from kvstore.state.settings import HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX

RawChange = tuple[int, bytes, RawRecord | None, RawRecord | None, int]
"""(revision, key, record after, record before, revision of the change of this key before it, or 0)

No record after: it was deleted. `before` is the last record only where nothing was deleted in between.
"""

_OVERHEAD_BYTES: Final = 256


class History:
    """The changes, oldest first, in a list whose head is cut off now and then: popping from a list is slow, finding a
    place in a deque too.
    """

    __slots__ = ("_bytes", "_changes", "_first", "compacted")

    def __init__(self) -> None:
        self._changes: list[RawChange] = []
        self._first = 0
        self._bytes = 0
        self.compacted = 0

    def __len__(self) -> int:
        return len(self._changes) - self._first

    def note(self, revision: int, key: bytes, after: RawRecord | None, before: RawRecord | None, prior: int) -> None:
        """One change more, at the last revision or the one after it; see RawChange."""
        if revision <= self.compacted:
            return  # of the same revision a tombstone was dropped already
        self._changes.append((revision, key, after, before, prior))
        self._bytes += _cost(key, before)

    def bound(self, settings: Mapping[str, int]) -> None:
        """H1."""
        excess = len(self._changes) - self._first - settings[HISTORY_REVISIONS_MAX]
        bytes_max = settings[HISTORY_BYTES_MAX]
        if excess > 0 or self._bytes > bytes_max:
            changes, first, size = self._changes, self._first, self._bytes
            place = max(first + excess - 1, first)
            while place < len(changes) and size - self._size(first, place + 1) > bytes_max:
                place += 1
            self.compact(changes[min(place, len(changes) - 1)][0])

    def compact(self, revision: int) -> None:
        """Forget everything up to `revision`."""
        end = bisect_right(self._changes, revision, lo=self._first, key=_revision)
        self._bytes -= self._size(self._first, end)
        self._first = end
        if end > 1024 and 2 * end > len(self._changes):
            del self._changes[:end]
            self._first = 0
        self.compacted = max(self.compacted, revision)

    def _size(self, begin: int, end: int) -> int:
        """What the changes from `begin` up to `end` count for, in bytes."""
        changes = self._changes
        return sum(_cost(changes[place][1], changes[place][3]) for place in range(begin, end))

    def after(self, revision: int, limit: int) -> list[RawChange]:
        """The first `limit` changes above `revision`, and the rest of the revision that the last of them belongs to."""
        changes = self._changes
        begin = bisect_right(changes, revision, lo=self._first, key=_revision)
        end = begin + limit
        while begin < end < len(changes) and changes[end][0] == changes[end - 1][0]:
            end += 1
        return changes[begin:end]

    def at(self, key: bytes, revision: int) -> RawChange:
        """The change of `key` at `revision`. There has to be one."""
        place = bisect_left(self._changes, (revision, key), lo=self._first)
        change = self._changes[place]
        assert change[:2] == (revision, key)
        return change

    # -- snapshots

    def rows(self) -> list[RawChange]:
        """The changes as they are at this call."""
        return self._changes[self._first :]


def _revision(change: RawChange) -> int:
    return change[0]


def _cost(key: bytes, before: RawRecord | None) -> int:
    """A record is counted where it is the one before a change: until then it is in use."""
    return _OVERHEAD_BYTES + len(key) + (0 if before is None else len(before[0]))

"""A sorted map from keys to values: a dict for what is asked by key, a sorted list of keys for what is asked by range.

Counting is bisection, paging is lazy. At most one `Walk` at a time sees the map as it was when the walk began; every
change goes through `put` and `remove`, which keep for it what it has not seen yet.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from sortedcontainers import SortedList

from kvstore.model.keys import successor
from kvstore.state.walk import Walk

V = TypeVar("V")


class Keyspace(Generic[V]):
    """`by_age=True` makes `oldest` cheap, for a little more memory: keys are then also kept in order of insertion."""

    __slots__ = ("_keys", "_values", "_walk", "get")

    def __init__(self, *, by_age: bool = False) -> None:
        # Finding the first key of a plain dict is slow once many before it were removed; an OrderedDict has no holes.
        self._values: dict[bytes, V] = OrderedDict() if by_age else {}
        self._keys: SortedList[bytes] = SortedList()
        self._walk: Walk[V] | None = None
        self.get = self._values.get

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: bytes, value: V) -> None:
        """Set `key` to `value`."""
        if self._walk is not None:
            self._walk.before_put(key)
        if key not in self._values:
            self._keys.add(key)
        self._values[key] = value

    def remove(self, key: bytes) -> V:
        """Remove `key` and return its value. Raises KeyError if it is absent."""
        if self._walk is not None:
            self._walk.before_remove(key)
        value = self._values.pop(key)
        self._keys.remove(key)
        return value

    def oldest(self) -> bytes:
        """The key that was inserted first, of those that are there. Raises StopIteration if there is none."""
        return next(iter(self._values))

    def count(self, start: bytes, end: bytes | None) -> int:
        """The number of keys from `start` up to `end` (exclusive; None: no upper bound). Logarithmic."""
        low = self._keys.bisect_left(start)
        high = len(self._keys) if end is None else self._keys.bisect_left(end)
        return max(0, high - low)

    def keys(
        self, start: bytes, end: bytes | None, *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[bytes]:
        """The keys from `start` up to `end` (exclusive; None: no upper bound), lazily; not to be held across a change.

        `after` resumes beyond that key, in the direction of travel.
        """
        start, end = span(start, end, after=after, reverse=reverse)
        return self._keys.irange(start, end, inclusive=(True, False), reverse=reverse)

    def walk(self) -> Walk[V]:
        """A walk over the map as it is now. Close it: until then every first change of a key keeps the old value."""
        if self._walk is not None:
            raise RuntimeError("a walk over this map is under way")
        self._walk = Walk(self._keys, self._values, self._walk_ended)
        return self._walk

    @property
    def walked(self) -> bool:
        """True while a walk is under way."""
        return self._walk is not None

    def _walk_ended(self) -> None:
        self._walk = None


def span(start: bytes, end: bytes | None, *, after: bytes | None, reverse: bool) -> tuple[bytes, bytes | None]:
    """What is left of a range beyond `after`, in the direction of travel."""
    if after is not None:
        if reverse:
            end = after if end is None else min(after, end)
        else:
            start = max(start, successor(after))
    return start, end

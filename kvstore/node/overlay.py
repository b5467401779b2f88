"""What this node has acknowledged at level ONE and not applied yet, by key: reads at level ONE are laid over with it.

An intent is shown where it would win if it were applied now: where its stamp is not below that of the key's record, of
its tombstone, or of the floor (rule 8 of the state machine). The answer then is a forecast; it has no revision yet.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sortedcontainers import SortedDict

from kvstore.model.results import Record
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine


class Pending(NamedTuple):
    """The newest pending intent of a key; `value` is None for a delete."""

    position: int
    stamp: Stamp
    value: bytes | None


class Overlay:
    """Key -> its newest pending intent."""

    def __init__(self) -> None:
        self._keys: SortedDict[bytes, Pending] = SortedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: bytes, pending: Pending) -> None:
        """An intent became durable. They come in the order of their stamps."""
        self._keys[key] = pending

    def remove(self, key: bytes, position: int) -> None:
        """The intent at `position` was applied; a newer one of its key stays."""
        pending = self._keys.get(key)
        if pending is not None and pending.position == position:
            del self._keys[key]

    def over(self, machine: Machine, key: bytes) -> Pending | None:
        """The pending intent that a read of `key` shows instead of the applied state, or None."""
        pending = self._keys.get(key)
        return pending if pending is not None and pending.stamp >= machine.stamp_of(key) else None

    def within(self, machine: Machine, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, Pending]]:
        """Those that a read of the range shows, keys rising."""
        for key in self._keys.irange(start, end, inclusive=(True, False)):
            pending = self.over(machine, key)
            if pending is not None:
                yield key, pending


def as_record(pending: Pending) -> Record | None:
    """What a read shows for it: a record without revisions, or None for a delete."""
    return None if pending.value is None else Record(pending.value, 0, 0, 0, 0, pending.stamp)

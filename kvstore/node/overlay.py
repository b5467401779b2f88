"""What this node has acknowledged at level ONE and not applied yet, by key: reads at level ONE are laid over with it.

An intent is shown where it would win if it were applied now: where its stamp is not below that of the key's record, of
its tombstone, or of the floor (rule 8 of the state machine), and where its idempotency key is not remembered: another
node may have the same write under that key, and once the copy of that node was applied, the one here changes nothing.
What it lay over shows again. The answer is a forecast; it has no revision yet.
"""

from collections import deque
from typing import NamedTuple

from sortedcontainers import SortedDict

from kvstore.model.results import Record
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine
from kvstore.state.past import Shown


class Pending(NamedTuple):
    """One pending intent of a key; `value` is None for a delete, `once` its idempotency key."""

    position: int
    stamp: Stamp
    value: bytes | None
    once: bytes | None = None


class Overlay:
    """Key -> its pending intents, oldest first."""

    def __init__(self) -> None:
        self._keys: SortedDict[bytes, deque[Pending]] = SortedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: bytes, pending: Pending) -> None:
        """An intent became durable. They come in the order of their stamps."""
        of_key = self._keys.get(key)
        if of_key is None:
            of_key = self._keys[key] = deque()
        of_key.append(pending)

    def remove(self, key: bytes, position: int) -> None:
        """All up to `position` were applied, or have a new place; newer ones of the key stay."""
        of_key = self._keys.get(key)
        if of_key is None:
            return
        while of_key and of_key[0].position <= position:
            of_key.popleft()
        if not of_key:
            del self._keys[key]

    def over(self, machine: Machine, key: bytes) -> Pending | None:
        """The pending intent that a read of `key` shows instead of the applied state, or None."""
        for pending in reversed(self._keys.get(key, ())):
            if pending.once is None or not machine.remembers(pending.once):
                return pending if pending.stamp >= machine.stamp_of(key) else None
        return None

    def shown(self, machine: Machine, start: bytes, end: bytes | None) -> Shown:
        """What a read of the range shows of some keys instead of their records: see `Machine.range`."""
        found: Shown = SortedDict()
        for key in self._keys.irange(start, end, inclusive=(True, False)):
            pending = self.over(machine, key)
            if pending is not None:
                found[key] = as_record(pending)
        return found


def as_record(pending: Pending) -> Record | None:
    """What a read shows for it: a record without revisions, or None for a delete."""
    return None if pending.value is None else Record(pending.value, 0, 0, 0, 0, pending.stamp)

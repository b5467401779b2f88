"""What a history tells about the revisions of each key, and whether a read hides one that it should have shown."""

import bisect
from collections.abc import Sequence
from typing import Final

from kvjepsen.records import NEVER, Operation

MUTATIONS: Final = ("write", "cas", "delete")


def removes(op: Operation) -> bool:
    """Whether it leaves the key absent."""
    return op.f == "delete" or (op.f == "write" and op.value is None) or (op.f == "cas" and op.value[1] is None)


class Placed:
    """Every (key, revision) that an answer told."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._places: dict[str | None, list[tuple[int, int, Operation]]] = {}
        self._removed_from: dict[str | None, int] = {}  # when the first removal of unknown revision began
        for op in operations:
            if op.outcome == "fail":
                continue
            if op.revision is not None and (op.f in MUTATIONS or op.shown is not None):
                self._places.setdefault(op.key, []).append((op.revision, op.i, op))
            elif op.revision is None and removes(op):
                self._removed_from.setdefault(op.key, op.i)
        for places in self._places.values():
            places.sort(key=lambda place: place[:2])

    def hidden_by(self, read: Operation, floor: int) -> Operation | None:
        """What told the newest revision of the key at or below `floor`, if the read shows something older.

        A read that shows a value without a revision (a write not in effect yet) hides nothing.
        """
        places = self._places.get(read.key, [])
        at = bisect.bisect_right(places, floor, key=lambda place: place[0]) - 1
        if at < 0:
            return None
        revision, _, newest = places[at]
        if read.shown is not None:
            return newest if read.revision is not None and read.revision < revision else None
        if self._removed_from.get(read.key, NEVER) < read.ended:
            return None
        return None if any(removes(op) for _, _, op in places[at:]) else newest

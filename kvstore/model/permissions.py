"""Who may do what with which keys: verbs, the ranges that a role has them on, and what a user may do by all its roles.

A permission is `(verbs, start, end)`: a sum of verbs, on the keys from `start` up to `end` (exclusive; None: no upper
bound). Pure.

    read    see a key's value, or that it is there
    write   put a key; change its value
    delete  remove a key
    watch   be told of its changes
    lease   grant, keep alive, list and end leases, and attach keys to them
    admin   users, roles, members, settings, compaction, backups: everything that is of no one key
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final

from kvstore.model.keys import successor

READ: Final = 1
WRITE: Final = 2
DELETE: Final = 4
WATCH: Final = 8
LEASE: Final = 16
ADMIN: Final = 32

VERBS: Final[Mapping[str, int]] = {
    "read": READ,
    "write": WRITE,
    "delete": DELETE,
    "watch": WATCH,
    "lease": LEASE,
    "admin": ADMIN,
}
NAMES: Final[Mapping[int, str]] = {verb: name for name, verb in VERBS.items()}
ALL_VERBS: Final = sum(VERBS.values())

Permission = tuple[int, bytes, bytes | None]

_NOTHING: Final[tuple[list[bytes], list[bytes | None]]] = ([], [])


def names_of(verbs: int) -> list[str]:
    """The verbs in a sum of them, in the order of the table."""
    return [name for name, verb in VERBS.items() if verbs & verb]


class Rights:
    """What somebody may do. Ranges that touch are one: what two permissions cover together is covered."""

    __slots__ = ("_spans", "everything")

    def __init__(self, permissions: Iterable[Permission] = (), *, everything: bool = False) -> None:
        self.everything = everything
        found = list(permissions)
        self._spans = {verb: _joined(found, verb) for verb in VERBS.values()}

    def on_key(self, verb: int, key: bytes) -> bool:
        """Whether `verb` is allowed on `key`."""
        if self.everything:
            return True
        starts, ends = self._spans[verb]
        place = bisect_right(starts, key) - 1
        if place < 0:
            return False
        end = ends[place]
        return end is None or key < end

    def on_range(self, verb: int, start: bytes, end: bytes | None) -> bool:
        """Whether it is allowed on every key from `start` up to `end`, whether it is there or not."""
        if self.everything:
            return True
        starts, ends = self._spans[verb]
        place = bisect_right(starts, start) - 1
        if place < 0:
            return False
        last = ends[place]
        return last is None or (end is not None and start < last and end <= last)

    def anywhere(self, verb: int) -> bool:
        """Whether it is allowed on any key at all: what verbs without keys ask."""
        return self.everything or bool(self._spans[verb][0])


def _joined(permissions: list[Permission], verb: int) -> tuple[list[bytes], list[bytes | None]]:
    """Starts and ends of the ranges with `verb`, rising, none of them touching another."""
    starts: list[bytes] = []
    ends: list[bytes | None] = []
    for _, start, end in sorted((each for each in permissions if each[0] & verb), key=_start):
        if ends:
            last = ends[-1]
            if last is None:
                break
            if start <= last:
                ends[-1] = None if end is None else max(last, end)
                continue
        starts.append(start)
        ends.append(end)
    return (starts, ends) if starts else _NOTHING


def _start(permission: Permission) -> bytes:
    return permission[1]


def one_key(key: bytes) -> tuple[bytes, bytes | None]:
    """The range that holds `key` alone."""
    return key, successor(key)

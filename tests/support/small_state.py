"""What the small store's log makes of it, and the sixteen bugs that can be switched on; some of them strike here."""

import random
from collections.abc import Callable
from typing import Any

BUGS = (
    "stale read",
    "lost acknowledged write",
    "lost tail after restart",
    "two leaders acknowledging",
    "dirty read of a failed write",
    "double apply of a retried cas",
    "cas that ignores the comparison",
    "delete resurrection",
    "cross-key swap",
    "ALL acknowledged at n-1",
    "acknowledged before fsync",
    "vote forgotten",
    "follower read served as QUORUM",
    "non-monotonic session",
    "replica divergence",
    "commit of an older term's entry",
)

Answer = Callable[..., None]


class Entry:
    """One command in the log. `id` names the request, so that one sent twice is applied once."""

    def __init__(self, term: int, id: Any, f: str, key: str, value: Any, asked: int | None = None) -> None:
        self.term, self.id, self.f, self.key, self.value, self.asked = term, id, f, key, value, asked
        # Not from the simulation's chance: it must be the same on every node, and with every bug.
        self.odd = random.Random(repr(id)).random()


class State:
    """What the log makes of the store."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[Any, int, int]] = {}
        self.revision = 0
        self.results: dict[Any, tuple[Any, ...]] = {}
        self.dirty: dict[str, Any] = {}  # a bug: values of writes that were refused

    def apply(self, entry: Entry, bug: str, *, replayed: bool, deviates: bool) -> tuple[Any, ...]:
        """The answer: ("ok", revision, version) or ("fail", error)."""
        if entry.f == "noop":
            return ("ok",)
        if entry.id in self.results and bug != "double apply of a retried cas":
            return self.results[entry.id]
        result = self._apply(entry, bug, replayed=replayed, deviates=deviates)
        self.results[entry.id] = result
        return result

    def _apply(self, entry: Entry, bug: str, *, replayed: bool, deviates: bool) -> tuple[Any, ...]:
        value, revision, version = self.records.get(entry.key, (None, 0, 0))
        if entry.asked is not None and entry.asked != revision:
            return ("fail", "precondition_failed")
        if entry.f == "delete" and value is None:
            return ("fail", "key_not_found")
        if entry.f == "cas" and value != entry.value[0] and bug != "cas that ignores the comparison":
            self.dirty[entry.key] = entry.value[1]
            return ("fail", "precondition_failed")
        self.dirty.pop(entry.key, None)
        new = {
            "write": lambda: entry.value,
            "cas": lambda: entry.value[1],
            "delete": lambda: None,
            "increment": lambda: (value or 0) + entry.value,
            "append": lambda: [*(value or []), entry.value],
            "add": lambda: [*(value or []), entry.value],
        }[entry.f]()
        self.revision += 1
        if bug == "replica divergence" and deviates and entry.odd < 0.03:
            return ("ok", self.revision, version + 1)
        if entry.f == "delete":
            if not (bug == "delete resurrection" and replayed):
                del self.records[entry.key]
            return ("ok", self.revision, 0)
        self.records[entry.key] = (new, self.revision, version + 1)
        return ("ok", self.revision, version + 1)

    def digest(self) -> int:
        return hash(repr(sorted(self.records.items())))

"""The durability ledger: what a cluster acknowledged, and whether a record read later agrees with it. No I/O.

Each key has at most one write under way at a time, no value is written twice under one key (unless to repeat a write
whose outcome is unknown), and the ledger knows of every write before it is sent. Then a key whose newest acknowledged
write got revision r must hold, for ever:

- exactly that value (or absence, for a delete) with mod_revision r, or
- the value of a write whose outcome is unknown, with a mod_revision above r. A write that timed out may still take
  effect, also after later ones: its forwarded copy may have been under way.

A write that the cluster refused as not applied must never be seen, so it is struck off like one that was never made.
While the load runs, the answers alone already convict: no two writes share a revision, and the revisions that one key
is given rise. So a lost write is found out even if a later one covers it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from kvstore.model.results import Record

Kind = Literal["lost", "stale", "altered", "invented", "repeated revision", "revision went back", "unreadable"]

ABSENT: Final = b""


class Finding(NamedTuple):
    """One broken promise: its `kind`, its `key`, `where` it was seen (a node and a read level), and what was seen."""

    kind: Kind
    key: bytes
    where: str
    detail: str


@dataclass(frozen=True, eq=False, slots=True)
class Attempt:
    """A write under way: its key and the SHA-256 of its value (ABSENT for a delete)."""

    key: bytes
    sha256: bytes


class Acknowledged(NamedTuple):
    """The newest acknowledged write of a key."""

    sha256: bytes
    revision: int
    level: str


@dataclass(slots=True)
class _Entry:
    acknowledged: Acknowledged | None = None
    open: list[Attempt] = field(default_factory=list)


class Ledger:
    """Counts and findings may be read at any time; `findings` holds those that the answers alone gave."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.refused = 0
        self.findings: list[Finding] = []
        self._entries: dict[bytes, _Entry] = {}
        self._revisions: dict[int, bytes] = {}

    @property
    def unknown(self) -> int:
        """Writes neither acknowledged nor refused: their outcome is unknown, or they are under way."""
        return sum(len(entry.open) for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> Iterator[bytes]:
        """Every key that was ever attempted."""
        return iter(self._entries)

    def attempt(self, key: bytes, value: bytes | None) -> Attempt:
        """Note a write before it is sent; `value` is None for a delete."""
        attempt = Attempt(key, digest(value))
        self._entries.setdefault(key, _Entry()).open.append(attempt)
        return attempt

    def acknowledge(self, attempt: Attempt, revision: int, level: str) -> None:
        """The write was acknowledged with `revision`."""
        entry = self._entries[attempt.key]
        entry.open.remove(attempt)
        before, twin = entry.acknowledged, self._revisions.get(revision)
        entry.acknowledged = Acknowledged(attempt.sha256, revision, level)
        self._revisions[revision] = attempt.key
        self.acknowledged += 1
        if twin is not None:
            told = f"revision {revision} had been given to {twin!r} before"
            self.findings.append(Finding("repeated revision", attempt.key, "answer", told))
        elif before is not None and revision < before.revision:
            told = f"a write got revision {revision} after one that had got {before.revision}"
            self.findings.append(Finding("revision went back", attempt.key, "answer", told))

    def refuse(self, attempt: Attempt) -> None:
        """The write was refused and, as the cluster says, not applied."""
        self._entries[attempt.key].open.remove(attempt)
        self.refused += 1

    def judge(self, key: bytes, record: Record | None, where: str) -> Finding | None:
        """What is wrong with `record` as the present state of `key`; None if nothing is."""
        entry = self._entries.get(key)
        if entry is None:
            return None if record is None else Finding("invented", key, where, "nobody ever wrote this key")
        seen = digest(record.value) if record is not None else ABSENT
        known = entry.acknowledged
        open_values = [attempt.sha256 for attempt in entry.open]
        if record is None:
            if known is None or known.sha256 == ABSENT or ABSENT in open_values:
                return None
            return Finding("lost", key, where, f"absent; {_told(known)}")
        if known is not None and record.mod_revision < known.revision:
            return Finding("stale", key, where, f"mod_revision {record.mod_revision}; {_told(known)}")
        if known is not None and record.mod_revision == known.revision and seen == known.sha256:
            return None
        if (known is None or record.mod_revision > known.revision) and seen in open_values:
            return None
        told = "nothing acknowledged" if known is None else _told(known)
        return Finding("altered", key, where, f"sha256 {seen.hex()}, mod_revision {record.mod_revision}; {told}")


def digest(value: bytes | None) -> bytes:
    """The SHA-256 of `value`, ABSENT for None."""
    return ABSENT if value is None else hashlib.sha256(value).digest()


def _told(known: Acknowledged) -> str:
    what = "a delete" if known.sha256 == ABSENT else f"sha256 {known.sha256.hex()}"
    return f"acknowledged at {known.level.upper()}: {what} at revision {known.revision}"

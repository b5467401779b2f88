"""The state machine: what a committed command does. The rules of the data model; `operations`, `intents`, `changes` and
`transacting` carry them out.

1. Entries are applied in the order of the log, each index once.
2. An envelope whose kind or shape is not known changes nothing and raises UnknownCommand: skipping it would let
   replicas differ. All of it is checked before any of it is applied.
3. The operations of an envelope are independent and applied in their order; each one that changes something takes the
   next revision, a put of the same value too. Sessions come and go without one.
4. A condition is judged against the state at its turn. One that fails changes nothing, and uses no revision.
5. An entry has a stamp above every stamp before it: the envelope's own where it is ahead, else the last one with its
   counter plus one. The operations of clients carry it, so they are above whatever they meet.
6. A put of an absent key creates it (version 1, create_revision = mod_revision) and clears its tombstone.
7. A delete leaves a tombstone. Beyond the replicated bound the oldest is dropped, and `stamp_floor` rises to its stamp.
8. An intent (a write acknowledged at level ONE) carries the stamp that its node gave it, at most `clock_drift_ms_max`
   ahead of the leader's wall clock, or where its entry is, if that is ahead already; those of one node that are bounded
   so keep their order, and are above all that was applied before. Below the stamp of the key, of its
   tombstone or, for a key without either, `stamp_floor`, it is superseded: it changes nothing. Else it is applied, and
   a delete leaves a tombstone even for an absent key.
9. A lease ends with its keys, a range is deleted, and a transaction is carried out, at one revision each (`leases`,
   `transacting`). What one operation changes is bounded, and so is what it reads.
    Replicated settings are changed without a revision; the feature level only rises.
10. What each revision changed is kept as far back as `history` says. Nothing but reads depends on it.
    Users, roles and signing keys are changed without one, too: rules A of `auth`, which also say what else is refused
    because of them.
11. Repetitions are known by session, idempotency key or intent sequence, and answered instead of applied: rules S, I
    and
   O of `sessions`, `idempotency` and `origins`. All their times are log time: the milliseconds of the entry's stamp.
"""

from collections.abc import Generator, Mapping
from heapq import merge
from types import MappingProxyType
from typing import Any

from kvstore.model import command_shapes
from kvstore.model.commands import Command
from kvstore.model.features import FEATURE_LEVEL
from kvstore.model.results import OpResult, Record
from kvstore.model.stamp import Stamp
from kvstore.state import changes
from kvstore.state.anew import begin_anew
from kvstore.state.auth import Auth
from kvstore.state.contents import Contents
from kvstore.state.digest import RawStamp, raw_stamp, record_hasher, tombstone_hasher
from kvstore.state.history import RawChange
from kvstore.state.intents import apply_intents
from kvstore.state.keyspace import span
from kvstore.state.leases import Leases
from kvstore.state.operations import apply_operations
from kvstore.state.past import NOTHING_SHOWN, Past, Shown
from kvstore.state.raw import record_of
from kvstore.state.settings import CLOCK_DRIFT_MS_MAX, IDEMPOTENCY_KEYS_MAX
from kvstore.state.snapshot import SnapshotLoader, snapshot


class OutOfOrder(Exception):
    """An entry was handed over that is not the next one, or its term is below the last one's."""


class Compacted(Exception):
    """What is asked for is older than the history that is kept; `revision` is the oldest that can be asked for."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"history begins at revision {revision}")
        self.revision = revision


class Machine:
    """The replicated state and its rules. A new one has applied index 1 (the no-op that every log begins with).

    Not for concurrent use: every call, and every step of a snapshot, belongs on one thread.
    """

    __slots__ = ("_contents", "_past")

    def __init__(self, contents: Contents | None = None) -> None:
        self._contents = Contents() if contents is None else contents
        self._past = Past()

    @property
    def applied_index(self) -> int:
        """The index of the last entry that was applied or skipped."""
        return self._contents.index

    @property
    def applied_term(self) -> int:
        """The term of that entry."""
        return self._contents.term

    @property
    def revision(self) -> int:
        """The store's revision: how many operations have changed something."""
        return self._contents.revision

    @property
    def last_stamp(self) -> Stamp:
        """The stamp of the last envelope."""
        return Stamp._make(self._contents.last_stamp)

    @property
    def stamp_floor(self) -> Stamp:
        """The highest stamp of a tombstone that was dropped."""
        return Stamp._make(self._contents.stamp_floor)

    @property
    def settings(self) -> Mapping[str, int]:
        """The replicated settings, to look at."""
        return MappingProxyType(self._contents.settings)

    @property
    def feature_level(self) -> int:
        """What every member is known to know; see `kvstore.model.features`."""
        return self._contents.settings.get(FEATURE_LEVEL, 1)

    @property
    def digest(self) -> int:
        """64 bits of the records, tombstones, users and roles: equal for equal content, however it came about."""
        return self._contents.digest

    @property
    def clock_drift_ms_max(self) -> int:
        """How far ahead a clock may be, in milliseconds."""
        return self._contents.settings[CLOCK_DRIFT_MS_MAX]

    @property
    def sessions_open(self) -> int:
        """How many sessions there are."""
        return len(self._contents.sessions)

    @property
    def answers_kept(self) -> int:
        """How many answers are remembered, of sessions and of idempotency keys."""
        return self._contents.sessions.answers + len(self._contents.idempotency_keys)

    def remembers(self, key: bytes) -> bool:
        """Whether a write under this idempotency key was applied, or superseded, and is remembered."""
        return key in self._contents.idempotency_keys

    @property
    def intent_keys_full(self) -> bool:
        """Whether as many idempotency keys of level ONE writes are remembered as may be (rule I4)."""
        contents = self._contents
        return contents.idempotency_keys.of_intents >= contents.settings[IDEMPOTENCY_KEYS_MAX]

    def last_intent(self, node: str, epoch: int) -> int | None:
        """The sequence of the last intent of `node` that was applied in `epoch`; None where that is not kept."""
        return self._contents.origins.last(node, epoch)

    def oldest_epoch(self, node: str) -> int:
        """The oldest epoch of `node` of which results are kept, 0 if there is none; see `Origins.oldest`."""
        return self._contents.origins.oldest(node)

    def mark(self, node: str) -> tuple[int, int]:
        """(current epoch, sequence of the last intent applied) of `node`; (0, 0) if it never had any."""
        return self._contents.origins.mark(node)

    def intent_result(self, node: str, epoch: int, sequence: int) -> OpResult | None:
        """What became of an intent of `node`: None if it was not applied, or its result is not kept any more."""
        return self._contents.origins.result(node, epoch, sequence)

    def stamp_of(self, key: bytes) -> Stamp:
        """The stamp that an intent for `key` must not be below (rule 8)."""
        return Stamp._make(changes.stamp_of(self._contents, key, self._contents.records.get(key)))

    def inspect(self, key: bytes) -> tuple[int, int]:
        """(mod_revision, 64-bit digest) of what is really held under `key`, computed anew; a deleted key has those of
        its tombstone, one that was never there (0, 0).
        """
        contents = self._contents
        record = contents.records.get(key)
        if record is not None:
            value, create, mod, version, lease, stamp, _ = record
            return mod, record_hasher(stamp)(key, value, create, mod, version, lease)
        tombstone = contents.tombstones.get(key)
        return (0, 0) if tombstone is None else (tombstone[1], tombstone_hasher(tombstone[0])(key, tombstone[1]))

    @property
    def tombstone_count(self) -> int:
        """How many deleted keys are remembered."""
        return len(self._contents.tombstones)

    def __len__(self) -> int:
        """The number of keys."""
        return len(self._contents.records)

    def apply(self, index: int, term: int, command: Command) -> list[OpResult]:
        """Apply the entry at `index`; one result for each operation, in their order.

        Raises OutOfOrder, or UnknownCommand; either leaves everything as it was.
        """
        self._check_next(index, term)
        command_shapes.check(command)
        contents = self._contents
        stamp = _stamp_after(contents.last_stamp, command.stamp)
        contents.last_stamp = stamp
        contents.sessions.expire(stamp[0], contents.settings)
        contents.idempotency_keys.expire(stamp[0], contents.settings)
        if command.origin is not None:
            results = apply_intents(contents, command.origin, command.ops, stamp)
        else:
            results = apply_operations(contents, command.ops, stamp, term)
        contents.history.bound(contents.settings)
        contents.index = index
        contents.term = term
        return results

    def skip(self, index: int, term: int) -> None:
        """Note an entry that changes nothing here (no-op, configuration). Raises OutOfOrder."""
        self._check_next(index, term)
        self._contents.index = index
        self._contents.term = term

    def get(self, key: bytes) -> Record | None:
        """The record of `key`, or None."""
        raw = self._contents.records.get(key)
        return None if raw is None else record_of(raw)

    def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        limit: int,
        after: bytes | None = None,
        bytes_max: int,
        reverse: bool = False,
        shown: Shown = NOTHING_SHOWN,
        count: int | None = None,
    ) -> tuple[list[tuple[bytes, Record]], int, bytes | None]:
        """One page of the keys from `start` up to `end` (exclusive; None: no upper bound), falling if `reverse`.

        Returns (page, number of keys in the whole range, last key of the page if more follow, else None); that key as
        `after` gives the next page. A page holds at most `limit` records and `bytes_max` bytes of keys and values, but
        never fewer than one record. `limit` 0 only counts. Raises ValueError for a negative `limit`.

        `shown`: what is to be seen of some keys instead of their records, None for nothing. `count`: the number of keys
        in the whole range, if it is known already; else those that are shown differently are counted one by one.
        """
        if limit < 0:
            raise ValueError(f"limit {limit} is negative")
        records = self._contents.records
        if count is None:
            count = records.count(start, end)
            for key in shown.irange(start, end, inclusive=(True, False)):
                count += (shown[key] is not None) - (records.get(key) is not None)
        page: list[tuple[bytes, Record]] = []
        if not limit:
            return page, count, None
        keys = records.keys(start, end, after=after, reverse=reverse)
        if shown:
            first, last = span(start, end, after=after, reverse=reverse)
            others = (key for key in keys if key not in shown)
            added = shown.irange(first, last, inclusive=(True, False), reverse=reverse)
            keys = merge(others, added, reverse=reverse)
        room = bytes_max
        for key in keys:
            if key in shown:
                record = shown[key]
            else:
                raw = records.get(key)
                record = None if raw is None else record_of(raw)
            if record is None:
                continue
            room -= len(key) + len(record.value)
            if page and (room < 0 or len(page) == limit):
                return page, count, page[-1][0]
            page.append((key, record))
        return page, count, None

    # -- the past

    @property
    def compacted(self) -> int:
        """What the store was like is known at this revision and above, what has changed above it."""
        return self._contents.history.compacted

    def get_at(self, key: bytes, revision: int) -> Record | None:
        """The record that `key` had at `revision`. Raises Compacted below `compacted`."""
        self._check_kept(revision)
        raw = changes.record_at(self._contents, key, revision)
        return None if raw is None else record_of(raw)

    def shown_at(self, revision: int) -> Shown:
        """What makes of the present a state of the past: `shown` for `range`. Raises Compacted, unless that state is
        being looked at already. To be used at once: it changes with the next entry.
        """
        shown = self._past.at(self._contents, revision)
        if shown is None:
            raise Compacted(self._contents.history.compacted)
        return shown

    def changes(self, revision: int, limit: int) -> list[RawChange]:
        """The first `limit` changes above `revision`, and the rest of the last one's revision. Raises Compacted."""
        self._check_kept(revision)
        return self._contents.history.after(revision, limit)

    def _check_kept(self, revision: int) -> None:
        if revision < self._contents.history.compacted:
            raise Compacted(self._contents.history.compacted)

    # -- leases

    @property
    def leases(self) -> Leases:
        """The leases, to look at."""
        return self._contents.leases

    def snapshot(self) -> Generator[bytes, None, None]:
        """Frames of the state at this call, to be drained while `apply` goes on; no step takes longer than one frame.

        One at a time: raises SnapshotActive while another is neither drained nor closed. `close()` gives it up.
        """
        return snapshot(self._contents)

    # -- users and roles

    @property
    def auth(self) -> Auth:
        """Users, roles and signing keys, to look at."""
        return self._contents.auth

    def begin_anew(self, *, opened: bool = False) -> None:
        """Become the state that a new cluster begins with (rules N of `anew`); `opened`: without auth."""
        begin_anew(self._contents, opened=opened)
        self._past = Past()

    @classmethod
    def loader(cls) -> "MachineLoader":
        """A loader for the frames of `snapshot`."""
        return MachineLoader()

    def _check_next(self, index: int, term: int) -> None:
        contents = self._contents
        if index != contents.index + 1 or term < contents.term:
            raise OutOfOrder(f"entry {index} of term {term} after entry {contents.index} of term {contents.term}")


class MachineLoader:
    """Builds a Machine from the frames of a snapshot, in their order."""

    __slots__ = ("_loader",)

    def __init__(self) -> None:
        self._loader = SnapshotLoader()

    def add(self, frame: bytes) -> None:
        """Take the next frame. Raises CorruptSnapshot."""
        self._loader.add(frame)

    @property
    def header(self) -> Mapping[str, Any]:
        """What the first frame says of the whole, by the names of `snapshot._header`; empty before it was added."""
        return self._loader.header

    def finish(self) -> Machine:
        """The machine as it was at the moment of the snapshot. Raises CorruptSnapshot if anything is missing."""
        return Machine(self._loader.finish())


def _stamp_after(last: RawStamp, wanted: Stamp) -> RawStamp:
    if wanted > last:
        return raw_stamp(wanted)
    return (last[0], last[1] + 1, wanted.node, 0)

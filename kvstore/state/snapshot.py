"""The contents as a stream of frames, and back.

A frame is a msgpack array `[type, payload]`, bounded by SNAPSHOT_FRAME_RECORDS and SNAPSHOT_FRAME_BYTES_MAX (a single
larger record travels alone). In this order:

    0 header      a map, see `_header`; what is reserved for later is empty or 0
    1 records     [[key, value, create_revision, mod_revision, version, lease, stamp], ...], keys rising over all frames
    2 tombstones  [[key, stamp, revision], ...], keys rising over all frames
    3 sessions    [[number, used_ms, floor, [[sequence, digest, status, revision, version, detail], ...]], ...], by use
    4 idempotency keys  [[key, ms, digest, status, revision, version, detail, of an intent], ...], by age
    5 origins     [[node, epoch, mark], ...], by last use
    6 runs        [[node, epoch, start, count, status, revision], ...], results of intents
    7 leases      [[id, ttl_ms], ...], rising
    8 history     [[revision, key, prior, record before | None], ...], in the order of the changes
    9 auth        rows of `auth`: users, roles, signing keys. These are secrets

Of a state that never had users or roles neither the frames nor the member `auth` of the header are there: an older
version reads it.

A change's record after it is not written: it is the one before the next change of its key, or the present one.
Records and tombstones are walked while they change (copy on write). The rest is small and bounded, and copied at once.

The same contents give the same bytes, unless they changed while the stream was drained: then only the division into
frames differs, and a frame may be empty. Checksums of bytes are the business of whoever stores the frames; here the
counts and the digest are checked, which are computed anew from what was read.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import msgpack

from kvstore.limits import SNAPSHOT_FRAME_BYTES_MAX, SNAPSHOT_FRAME_RECORDS
from kvstore.state.contents import Contents
from kvstore.state.digest import DIGEST_MASK, RawStamp, record_hasher, tombstone_hasher
from kvstore.state.history import RawChange
from kvstore.state.raw import RawRecord, RawTombstone

FORMAT: Final = 3

_HEADER: Final = 0
_RECORDS: Final = 1
_TOMBSTONES: Final = 2
_SESSIONS: Final = 3
_IDEMPOTENCY_KEYS: Final = 4
_ORIGINS: Final = 5
_RUNS: Final = 6
_LEASES: Final = 7
_HISTORY: Final = 8
_AUTH: Final = 9

# What the header tells of the frames behind it.
_COUNTED: Final = (
    "records",
    "tombstones",
    "digest",
    "sessions",
    "idempotency_keys",
    "origins",
    "runs",
    "leases",
    "history",
)

# All that a record has besides key and value: seven integers, a node name, and msgpack's own bytes.
_OVERHEAD_BYTES: Final = 400


class SnapshotActive(Exception):
    """A snapshot of this machine is being drained; a second one must wait until it has ended or was closed."""


class CorruptSnapshot(Exception):
    """The frames are not what a snapshot of a known format gave, or they are not all there."""


def snapshot(contents: Contents) -> Generator[bytes, None, None]:
    """Frames of `contents` as they are at this call, however they change while the generator is drained.

    Raises SnapshotActive, at this call, while an earlier one is open. Closing or dropping the generator ends it.
    """
    if contents.records.walked or contents.tombstones.walked:
        raise SnapshotActive("one snapshot at a time: drain or close the one before")
    frames = _frames(contents)
    # Up to its first yield: a generator that never ran holds nothing of this moment, and does not clean up when closed.
    next(frames)
    return frames


def _frames(contents: Contents) -> Generator[bytes, None, None]:
    header = _pack(_HEADER, _header(contents))
    copies = _copies(contents)
    auth = [*contents.auth.rows()]
    history = contents.history.rows()
    records = contents.records.walk()
    tombstones = contents.tombstones.walk()
    try:
        yield b""
        yield header
        while not records.done:
            found = records.chunk(SNAPSHOT_FRAME_RECORDS, SNAPSHOT_FRAME_BYTES_MAX - _OVERHEAD_BYTES, _record_size)
            yield _pack(_RECORDS, [(key, *record[:6]) for key, record in found])
        records.close()
        while not tombstones.done:
            graves = tombstones.chunk(
                SNAPSHOT_FRAME_RECORDS, SNAPSHOT_FRAME_BYTES_MAX - _OVERHEAD_BYTES, _tombstone_size
            )
            yield _pack(_TOMBSTONES, [(key, *tombstone[:2]) for key, tombstone in graves])
        for frame_type, rows, rows_max in copies:
            for some in _chunks(rows, rows_max):
                yield _pack(frame_type, some)
        for changes in _bounded(history):
            yield _pack(_HISTORY, [(each[0], each[1], each[4], each[3] and each[3][:6]) for each in changes])
        for some in _chunks(auth, SNAPSHOT_FRAME_RECORDS):
            yield _pack(_AUTH, some)
    finally:
        records.close()
        tombstones.close()


def _copies(contents: Contents) -> list[tuple[int, Iterable[Any], int]]:
    """(frame type, rows, rows in a frame) of everything that is copied at once."""
    origins = contents.origins.copy()
    return [
        # A session can hold a thousand answers.
        (_SESSIONS, contents.sessions.rows(), max(SNAPSHOT_FRAME_RECORDS // 10, 1)),
        (_IDEMPOTENCY_KEYS, contents.idempotency_keys.copy().rows(), SNAPSHOT_FRAME_RECORDS),
        (_ORIGINS, origins.rows(), SNAPSHOT_FRAME_RECORDS),
        (_RUNS, origins.runs(), SNAPSHOT_FRAME_RECORDS),
        (_LEASES, contents.leases.rows(), SNAPSHOT_FRAME_RECORDS),
    ]


def _chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(rows)
    while some := list(islice(remaining, size)):
        yield some


def _bounded(changes: list[RawChange]) -> Iterator[list[RawChange]]:
    """The changes in frames of bounded size."""
    some: list[RawChange] = []
    room = SNAPSHOT_FRAME_BYTES_MAX
    for change in changes:
        size = _OVERHEAD_BYTES + len(change[1]) + (len(change[3][0]) if change[3] else 0)
        if some and (len(some) == SNAPSHOT_FRAME_RECORDS or size > room):
            yield some
            some, room = [], SNAPSHOT_FRAME_BYTES_MAX
        some.append(change)
        room -= size
    if some:
        yield some


def _header(contents: Contents) -> dict[str, Any]:
    auth = contents.auth
    told = {"enabled": auth.enabled, "revision": auth.revision, "users": len(auth.users), "roles": len(auth.roles)}
    return {
        "format": FORMAT,
        "index": contents.index,
        "term": contents.term,
        "revision": contents.revision,
        "last_stamp": contents.last_stamp,
        "stamp_floor": contents.stamp_floor,
        "settings": dict(sorted(contents.settings.items())),
        "digest": contents.digest,
        "records": len(contents.records),
        "tombstones": len(contents.tombstones),
        "sessions": len(contents.sessions),
        "sessions_next": contents.sessions.next_number,
        "idempotency_keys": len(contents.idempotency_keys),
        "origins": len(contents.origins),
        "runs": contents.origins.runs_total,
        "leases": len(contents.leases),
        "leases_next": contents.leases.next_id,
        "history": len(contents.history),
        "compaction_revision": contents.history.compacted,
        **({"auth": told} if auth.revision else {}),
    }


def _record_size(key: bytes, record: RawRecord) -> int:
    return len(key) + len(record[0]) + _OVERHEAD_BYTES


def _tombstone_size(key: bytes, tombstone: RawTombstone) -> int:
    return len(key) + _OVERHEAD_BYTES


def _pack(frame_type: int, payload: Any) -> bytes:
    packed: bytes = msgpack.packb((frame_type, payload))
    return packed


class SnapshotLoader:
    """Reads frames into new contents. A frame is validated whole before anything of it is used."""

    def __init__(self) -> None:
        self._contents = Contents()
        self._expected = _header(self._contents).keys()
        self._header: dict[str, Any] | None = None
        self._last_type = _HEADER
        self._digest = 0
        self._last_key: bytes | None = None
        self._graves: list[tuple[int, bytes, RawTombstone]] = []
        self._stamps: dict[RawStamp, RawStamp] = {}
        contents = self._contents
        self._add_row: dict[int, Callable[[Any], None]] = {
            _SESSIONS: contents.sessions.add_row,
            _IDEMPOTENCY_KEYS: contents.idempotency_keys.add_row,
            _ORIGINS: contents.origins.add_row,
            _RUNS: contents.origins.add_run,
            _LEASES: contents.leases.add_row,
            _HISTORY: self._add_change,
            _AUTH: contents.auth.add_row,
        }
        self._attached: list[tuple[int, bytes]] = []
        self._changes: list[tuple[int, bytes, int, RawRecord | None]] = []

    def add(self, frame: bytes) -> None:
        """Take the next frame. Raises CorruptSnapshot."""
        try:
            frame_type, payload = msgpack.unpackb(frame, use_list=False, strict_map_key=True)
            if (frame_type == _HEADER) != (self._header is None) or frame_type < self._last_type:
                raise CorruptSnapshot(f"a frame of type {frame_type!r} where it cannot stand")
            self._last_type = frame_type
            if frame_type == _HEADER:
                self._add_header(payload)
            elif frame_type == _RECORDS:
                self._add_records(payload)
            elif frame_type == _TOMBSTONES:
                self._add_tombstones(payload)
            else:
                add_row = self._add_row[frame_type]
                for row in payload:
                    add_row(row)
        except CorruptSnapshot:
            raise
        # Whatever the bytes are, there is one answer; struct.error, for example, comes from numbers out of range.
        except Exception as broken:
            raise CorruptSnapshot(f"not a snapshot frame: {broken!r}") from broken

    @property
    def header(self) -> Mapping[str, Any]:
        """What the first frame says of all (see `_header`); empty before it was added."""
        return MappingProxyType(self._header or {})

    def finish(self) -> Contents:
        """The contents, once every frame was added. Raises CorruptSnapshot if counts or digest are not the header's."""
        header, contents = self._header, self._contents
        if header is None:
            raise CorruptSnapshot("no header")
        # Age is the order of insertion.
        for _, key, tombstone in sorted(self._graves):
            contents.tombstones.put(key, tombstone)
        told = header.get("auth")
        if told is not None:
            try:
                contents.auth.loaded(enabled=told["enabled"], revision=told["revision"])
            except ValueError as wrong:
                raise CorruptSnapshot(f"auth: {wrong}") from wrong
        contents.digest = (self._digest + contents.auth.digest) & DIGEST_MASK
        for lease, key in self._attached:
            _check(lease in contents.leases, f"lease {lease}, which a key is attached to, but which is not there")
            contents.leases.attach(lease, key)
        self._tell_history()
        found = _header(contents)
        if told != found.get("auth"):
            raise CorruptSnapshot("auth: the header does not say what the frames hold")
        for name in _COUNTED:
            if header[name] != found[name]:
                raise CorruptSnapshot(f"{name}: the header says {header[name]}, the frames hold {found[name]}")
        return contents

    def _add_header(self, header: dict[str, Any]) -> None:
        if header["format"] != FORMAT or header.keys() - {"auth"} != self._expected:
            raise CorruptSnapshot(f"format {header['format']!r} with {sorted(header)} is not known to this build")
        for name in ("index", "term", "revision", "digest", "sessions_next", "leases_next", "compaction_revision"):
            _check(type(header[name]) is int and header[name] >= 0, name)
        if (told := header.get("auth")) is not None:
            _check(type(told) is dict and type(told.get("enabled")) is bool, "auth")
            _check(type(told.get("revision")) is int and told["revision"] > 0, "auth")
        settings = header["settings"]
        _check(all(type(name) is str and type(value) is int for name, value in settings.items()), "settings")
        contents = self._contents
        _check(settings.keys() >= contents.settings.keys(), "settings")
        # Each of those that this build reads is a bound or a duration: with 0 or less, applying could not go on.
        _check(all(settings[name] > 0 for name in contents.settings) and header["sessions_next"] > 0, "settings")
        _check(header["leases_next"] > 0 and header["compaction_revision"] <= header["revision"], "counters")
        contents.index, contents.term, contents.revision = header["index"], header["term"], header["revision"]
        contents.last_stamp = self._stamp(header["last_stamp"])
        contents.stamp_floor = self._stamp(header["stamp_floor"])
        contents.settings = dict(settings)
        contents.sessions.next_number = header["sessions_next"]
        contents.leases.next_id = header["leases_next"]
        contents.history.compacted = header["compaction_revision"]
        self._header = header

    def _add_records(self, rows: tuple[Any, ...]) -> None:
        added: list[tuple[bytes, RawRecord]] = []
        for key, *raw in rows:
            self._in_order(key)
            value, create, mod, version, lease, stamp = self._record(raw)
            digest = record_hasher(stamp)(key, value, create, mod, version, lease)
            if lease:
                self._attached.append((lease, key))
            added.append((key, (value, create, mod, version, lease, stamp, digest)))
        for key, record in added:
            self._contents.records.put(key, record)
            self._digest = (self._digest + record[6]) & DIGEST_MASK

    def _add_tombstones(self, rows: tuple[Any, ...]) -> None:
        if not self._graves:
            self._last_key = None
        for key, raw_stamp, revision in rows:
            self._in_order(key)
            _check(type(revision) is int and 0 < revision <= self._contents.revision, "revision")
            _check(self._contents.records.get(key) is None, "a key and its tombstone at once")
            stamp = self._stamp(raw_stamp)
            digest = tombstone_hasher(stamp)(key, revision)
            self._graves.append((revision, key, (stamp, revision, digest)))
            self._digest = (self._digest + digest) & DIGEST_MASK

    def _record(self, raw: Any) -> tuple[bytes, int, int, int, int, RawStamp]:
        value, create, mod, version, lease, raw_stamp = raw
        _check(type(value) is bytes and type(create) is type(mod) is type(version) is type(lease) is int, "record")
        _check(0 < create <= mod <= self._contents.revision and version > 0 and lease >= 0, "revisions")
        # One object for both revisions where they are equal, as `apply` leaves it.
        return value, mod if create == mod else create, mod, version, lease, self._stamp(raw_stamp)

    def _add_change(self, row: Any) -> None:
        revision, key, prior, before = row
        _check(type(revision) is type(prior) is int and type(key) is bytes, "change")
        last, last_key = self._changes[-1][:2] if self._changes else (self._contents.history.compacted, None)
        same = revision == last and last_key is not None and key > last_key
        _check((same or revision == last + 1) and 0 <= prior < revision, "order of changes")
        record = None
        if before is not None:
            # Without its hash: that is for records which are there.
            record = (*self._record(before), 0)
            _check(record[2] == prior, "the record before a change")
        self._changes.append((revision, key, prior, record))

    def _tell_history(self) -> None:
        """The changes with the record after each, found from the last one back."""
        contents = self._contents
        last = self._changes[-1][0] if self._changes else contents.history.compacted
        _check(last == contents.revision, "history: its end is not the present")
        following: dict[bytes, tuple[int, RawRecord | None]] = {}
        told: list[RawChange] = []
        for revision, key, prior, before in reversed(self._changes):
            prior_of_next, after = following.get(key, (None, contents.records.get(key)))
            if prior_of_next is None:
                tombstone = contents.tombstones.get(key)
                _check((after[2] if after else tombstone[1] if tombstone else 0) == revision, "last change of a key")
            else:
                _check(prior_of_next == revision, "change between two of a key")
            following[key] = (prior, before)
            told.append((revision, key, after, before, prior))
        for change in reversed(told):
            contents.history.note(*change)

    def _in_order(self, key: Any) -> None:
        _check(type(key) is bytes and (self._last_key is None or key > self._last_key), "order of keys")
        self._last_key = key

    def _stamp(self, raw: Any) -> RawStamp:
        """`raw` as the one object for all records of its envelope, which is what keeps restored memory small."""
        known = self._stamps.get(raw)
        if known is not None:
            return known
        ms, counter, node, sequence = raw
        _check(type(ms) is type(counter) is type(sequence) is int and type(node) is str, "stamp")
        _check(ms >= 0 and counter >= 0 and sequence >= 0, "stamp")
        stamp = (ms, counter, sys.intern(node), sequence)
        self._stamps[stamp] = stamp
        return stamp


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise CorruptSnapshot(f"bad {what}")

"""What one put and one delete do to the contents, whoever ordered them: record, tombstone, lease, history and digest,
all at the revision that they are given.
"""

from kvstore.model.commands import KEEP_LEASE, NO_LEASE
from kvstore.state.contents import Contents
from kvstore.state.digest import DIGEST_MASK, RawStamp, RecordHash, tombstone_hasher
from kvstore.state.raw import RawRecord
from kvstore.state.settings import TOMBSTONES_MAX


def write(
    contents: Contents,
    revision: int,
    key: bytes,
    value: bytes,
    old: RawRecord | None,
    stamp: RawStamp,
    record_hash: RecordHash,
    lease: int = NO_LEASE,
) -> int:
    """Put `value` under `key`, whose record is `old` now, at `revision`. Returns the version that the key has then."""
    if old is None:
        create, version, replaced, prior, had = revision, 1, 0, 0, NO_LEASE
        tombstone = contents.tombstones.get(key)
        if tombstone is not None:
            _, prior, replaced = contents.tombstones.remove(key)
    else:
        _, create, prior, version, had, _, replaced = old
        version += 1
    if lease != had:
        if lease == KEEP_LEASE:
            lease = had
        else:
            _move(contents, key, had, lease)
    added = record_hash(key, value, create, revision, version, lease)
    record = (value, create, revision, version, lease, stamp, added)
    contents.records.put(key, record)
    contents.history.note(revision, key, record, old, prior)
    contents.revision = revision
    contents.digest = (contents.digest + added - replaced) & DIGEST_MASK
    return version


def bury(contents: Contents, revision: int, key: bytes, old: RawRecord | None, stamp: RawStamp) -> None:
    """Leave a tombstone at `revision` in the place of the record, of an older tombstone, or of nothing."""
    replaced = prior = 0
    if old is not None:
        contents.records.remove(key)
        _, _, prior, _, had, _, replaced = old
        if had:
            contents.leases.detach(had, key)
    elif contents.tombstones.get(key) is not None:
        _, prior, replaced = contents.tombstones.remove(key)
    added = tombstone_hasher(stamp)(key, revision)
    contents.tombstones.put(key, (stamp, revision, added))
    contents.history.note(revision, key, None, old, prior)
    contents.revision = revision
    contents.digest = (contents.digest + added - replaced) & DIGEST_MASK
    while len(contents.tombstones) > contents.settings[TOMBSTONES_MAX]:
        _drop_tombstone(contents)


def end_lease(contents: Contents, lease: int, stamp: RawStamp) -> int:
    """End `lease` with its keys, at one revision. Returns how many it had."""
    keys = contents.leases.keys(lease)
    revision = contents.revision + 1
    for key in keys:
        bury(contents, revision, key, contents.records.get(key), stamp)
    contents.leases.end(lease)
    return len(keys)


def stamp_of(contents: Contents, key: bytes, record: RawRecord | None) -> RawStamp:
    """The stamp that an intent for `key`, whose record is given, must not be below."""
    if record is not None:
        return record[5]
    tombstone = contents.tombstones.get(key)
    return contents.stamp_floor if tombstone is None else tombstone[0]


def record_at(contents: Contents, key: bytes, revision: int) -> RawRecord | None:
    """The record that `key` had at `revision`, which is not below what is compacted (rules H2, H3 of `history`)."""
    record = contents.records.get(key)
    if record is not None:
        changed = record[2]
    else:
        tombstone = contents.tombstones.get(key)
        changed = 0 if tombstone is None else tombstone[1]
    while changed > revision:
        _, _, _, record, changed = contents.history.at(key, changed)
    return record


def _move(contents: Contents, key: bytes, had: int, lease: int) -> None:
    if had:
        contents.leases.detach(had, key)
    if lease:
        contents.leases.attach(lease, key)


def _drop_tombstone(contents: Contents) -> None:
    stamp, revision, dropped = contents.tombstones.remove(contents.tombstones.oldest())
    contents.stamp_floor = max(contents.stamp_floor, stamp)
    contents.history.compact(revision)
    contents.digest = (contents.digest - dropped) & DIGEST_MASK

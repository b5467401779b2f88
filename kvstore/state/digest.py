"""The digest: 64 bits that say whether two nodes hold the same content, kept up to date by every applied operation.

It is the sum modulo 2^64 of one hash for each record and each tombstone. A sum can be corrected in place (take the old
hash out, put the new one in), does not depend on the order of the operations, and, unlike exclusive or, notices an
entry that is counted twice.

The hash is BLAKE2b with 8 bytes of output, over everything that an entry consists of. CRC32C was measured against it.
A CRC is linear: of bare ones, combined by exclusive or, the values of two keys can be exchanged unnoticed. With the
mixing that prevents this it takes as long for common values (100 bytes: 570 ns against 600 ns; 1 MiB: 40 us against
1.1 ms), and a value still counts with 32 bits only. Each entry keeps its hash, so that an overwritten value is never
hashed again; that costs 56 bytes a key.
"""

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Final

from kvstore.model.stamp import Stamp

DIGEST_MASK: Final = (1 << 64) - 1

RawStamp = tuple[int, int, str, int]
"""A stamp as a plain tuple: the garbage collector stops tracking those, which a million records would make it feel."""

_RECORD: Final = 1
_TOMBSTONE: Final = 2

_EMPTY: Final = blake2b(digest_size=8)

# Lengths stand before what they measure: no two different entries have the same bytes.
_pack_stamp = Struct("<QQQI").pack
_pack_record = Struct("<BIQQQQ").pack
_pack_tombstone = Struct("<BIQ").pack

RecordHash = Callable[[bytes, bytes, int, int, int, int], int]
TombstoneHash = Callable[[bytes, int], int]


def raw_stamp(stamp: Stamp) -> RawStamp:
    """`stamp` as a plain tuple."""
    ms, counter, node, sequence = stamp
    return (ms, counter, node, sequence)


def record_hasher(stamp: RawStamp) -> RecordHash:
    """A function (key, value, create_revision, mod_revision, version, lease) -> hash, for records that carry `stamp`.

    One for all operations of an envelope: the stamp is hashed once.
    """
    base = _stamped(stamp)

    def record_hash(key: bytes, value: bytes, create_revision: int, mod_revision: int, version: int, lease: int) -> int:
        state = base.copy()
        state.update(_pack_record(_RECORD, len(key), create_revision, mod_revision, version, lease) + key)
        state.update(value)
        return int.from_bytes(state.digest(), "little")

    return record_hash


def tombstone_hasher(stamp: RawStamp) -> TombstoneHash:
    """A function (key, revision) -> hash, for tombstones that carry `stamp`."""
    base = _stamped(stamp)

    def tombstone_hash(key: bytes, revision: int) -> int:
        state = base.copy()
        state.update(_pack_tombstone(_TOMBSTONE, len(key), revision) + key)
        return int.from_bytes(state.digest(), "little")

    return tombstone_hash


def _stamped(stamp: RawStamp) -> blake2b:
    ms, counter, node, sequence = stamp
    name = node.encode()
    state = _EMPTY.copy()
    state.update(_pack_stamp(ms, counter, sequence, len(name)) + name)
    return state

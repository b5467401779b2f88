"""The forms in which records and tombstones are held: plain tuples of bytes, integers and plain tuples.

Never NamedTuples: the garbage collector stops tracking plain ones, so that its full collections do not walk millions of
objects.
"""

from kvstore.model.results import Record
from kvstore.model.stamp import Stamp
from kvstore.state.digest import RawStamp

RawRecord = tuple[bytes, int, int, int, int, RawStamp, int]
"""(value, create_revision, mod_revision, version, lease, stamp, hash)"""

RawTombstone = tuple[RawStamp, int, int]
"""(stamp, revision, hash)"""


def record_of(raw: RawRecord) -> Record:
    """The same for everyone outside."""
    return Record(raw[0], raw[1], raw[2], raw[3], raw[4], Stamp._make(raw[5]))

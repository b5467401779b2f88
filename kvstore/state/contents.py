"""Everything that is replicated, as one plain object: what `machine` changes, and what `snapshot` writes and reads."""

from kvstore.model.stamp import ZERO_STAMP
from kvstore.state.auth import Auth
from kvstore.state.digest import RawStamp, raw_stamp
from kvstore.state.history import History
from kvstore.state.idempotency import IdempotencyKeys
from kvstore.state.keyspace import Keyspace
from kvstore.state.leases import Leases
from kvstore.state.origins import Origins
from kvstore.state.raw import RawRecord, RawTombstone
from kvstore.state.sessions import Sessions
from kvstore.state.settings import default_settings


class Contents:
    """The state after the first no-op of a fresh log (index 1, term 0), until something fills it.

    `stamp_floor`: no tombstone above it was ever dropped. `digest`: the sum of the hashes of records, tombstones,
    and users and roles, if there ever were any.
    """

    __slots__ = (
        "auth",
        "digest",
        "history",
        "idempotency_keys",
        "index",
        "last_stamp",
        "leases",
        "origins",
        "records",
        "revision",
        "sessions",
        "settings",
        "stamp_floor",
        "term",
        "tombstones",
    )

    def __init__(self) -> None:
        self.index = 1
        self.term = 0
        self.revision = 0
        self.last_stamp: RawStamp = raw_stamp(ZERO_STAMP)
        self.stamp_floor: RawStamp = raw_stamp(ZERO_STAMP)
        self.settings = default_settings()
        self.digest = 0
        self.records: Keyspace[RawRecord] = Keyspace()
        self.tombstones: Keyspace[RawTombstone] = Keyspace(by_age=True)
        self.leases = Leases()
        self.history = History()
        self.sessions = Sessions()
        self.idempotency_keys = IdempotencyKeys()
        self.origins = Origins()
        self.auth = Auth()

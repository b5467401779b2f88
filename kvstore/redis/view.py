"""The keys as one or several commands see and change them before anything is written. Pure.

Commands that read and write are functions on a View: they read records, put and delete, and give their reply. What
they read is noted with its mod_revision, so that all of it can be written in one transaction that holds only if it is
still so (`changes`). Later commands on one View see what earlier ones did, so that several can be written at one
revision: what was queued between MULTI and EXEC, or what several clients asked of one key.
"""

from collections.abc import Callable
from typing import NamedTuple

from kvstore import limits
from kvstore.model.commands import KEEP_LEASE, NO_LEASE
from kvstore.model.results import Record
from kvstore.redis.problems import too_large
from kvstore.redis.replies import Reply


class NewLease(NamedTuple):
    """A lease that is still to be granted, for `ttl_ms` milliseconds."""

    ttl_ms: int


Lease = int | NewLease
"""NO_LEASE, KEEP_LEASE or a new one."""


class Put(NamedTuple):
    """What a key is to have."""

    value: bytes
    lease: Lease


Function = Callable[["View", list[bytes]], Reply]
"""A command: what it does and answers, with its arguments, its name among them. Raises CommandError."""


class Call(NamedTuple):
    """A command and its arguments. `check`: raises CommandError if it is not allowed (any more); None while auth is not
    enabled.
    """

    function: Function
    arguments: list[bytes]
    check: Callable[[], None] | None = None


class View:
    """`read` tells the record of a key, always of one and the same state."""

    def __init__(self, read: Callable[[bytes], Record | None]) -> None:
        self._read = read
        self._records: dict[bytes, Record | None] = {}
        self._room = limits.REDIS_REPLY_BYTES_MAX
        self.writes: dict[bytes, Put | None] = {}
        """What each changed key is to have, None if it is to be deleted."""

    @property
    def reads(self) -> dict[bytes, int]:
        """The mod_revision of each key that was read, 0 if it is absent."""
        return {key: 0 if record is None else record.mod_revision for key, record in self._records.items()}

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`."""
        if key in self.writes:
            put = self.writes[key]
            value = None if put is None else put.value
        else:
            record = self._record(key)
            value = None if record is None else record.value
        if value is not None:
            self._room -= len(value)
            if self._room < 0:
                raise too_large(f"the values of one answer have {limits.REDIS_REPLY_BYTES_MAX:,} bytes at most")
        return value

    def has(self, key: bytes) -> bool:
        """Whether `key` is there."""
        return self.writes[key] is not None if key in self.writes else self._record(key) is not None

    def has_lease(self, key: bytes) -> bool:
        """Whether a time to live is set on `key`."""
        if key not in self.writes:
            record = self._record(key)
            return record is not None and record.lease != NO_LEASE
        put = self.writes[key]
        if put is None or put.lease == NO_LEASE:
            return False
        if put.lease != KEEP_LEASE:
            return True
        before = self._record(key)
        return before is not None and before.lease != NO_LEASE

    def put(self, key: bytes, value: bytes, lease: Lease = KEEP_LEASE) -> None:
        """Give `key` a value. Raises CommandError if it is too large."""
        if len(value) > limits.VALUE_BYTES_MAX:
            raise too_large(f"a value has {limits.VALUE_BYTES_MAX:,} bytes at most")
        if lease == KEEP_LEASE and key in self.writes:
            before = self.writes[key]
            lease = NO_LEASE if before is None else before.lease
        self.writes[key] = Put(value, lease)

    def delete(self, key: bytes) -> None:
        """Take `key` away."""
        self.writes[key] = None

    def _record(self, key: bytes) -> Record | None:
        if key not in self._records:
            self._records[key] = self._read(key)
        return self._records[key]

"""A batch: operations that travel together and have nothing else to do with each other."""

from typing import Literal, NamedTuple

from kvstore.errors import KvError
from kvstore.model.commands import NO_LEASE, Once
from kvstore.model.levels import Level
from kvstore.model.results import Record, WriteAnswer


class BatchOp(NamedTuple):
    """One operation. `condition`, `once` and `lease` as in `kvstore.model.commands`; a get has none, nor a value."""

    kind: Literal["put", "delete", "get"]
    key: bytes
    value: bytes
    level: Level
    condition: int | None
    once: Once | None
    lease: int = NO_LEASE


BatchResult = WriteAnswer | Record | KvError
"""What became of one operation: what its call would have returned, or the error that it would have raised."""

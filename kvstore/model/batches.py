"""A batch: operations that travel together and have nothing else to do with each other."""

from typing import Literal, NamedTuple

from kvstore.errors import KvError
from kvstore.model.commands import Once
from kvstore.model.levels import Level
from kvstore.model.results import Record, WriteAnswer


class BatchOp(NamedTuple):
    """One operation. `condition` and `once` as in `kvstore.model.commands`; a get has neither, nor a value."""

    kind: Literal["put", "delete", "get"]
    key: bytes
    value: bytes
    level: Level
    condition: int | None
    once: Once | None


BatchResult = WriteAnswer | Record | KvError
"""What became of one operation: what its call would have returned, or the error that it would have raised."""

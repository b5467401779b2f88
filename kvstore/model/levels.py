"""The levels a request may choose."""

from enum import StrEnum


class Level(StrEnum):
    """How much durability a write waits for, or how fresh a read must be (docs/consistency.md)."""

    ONE = "one"
    QUORUM = "quorum"
    ALL = "all"

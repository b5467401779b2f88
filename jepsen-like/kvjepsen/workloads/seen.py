"""What a register is to a client, whatever door it uses."""

from typing import Any, NamedTuple, Protocol


class Seen(NamedTuple):
    """What a read showed; None for nothing. `revision` is 0 for nothing, and None through a door that tells none."""

    value: Any
    revision: int | None = None


class Hand(Protocol):
    """One client's way to registers. Everything is recorded; what failed, too."""

    async def read(self, key: str, level: str, timeout_s: float) -> Seen | None:
        """What is there; None if it could not be read."""

    async def write(self, key: str, value: int, level: str) -> None: ...

    async def delete(self, key: str, level: str) -> None: ...

    async def cas(self, key: str, seen: Seen, new: int, level: str) -> None:
        """Write `new` if nothing has happened since `seen` was."""

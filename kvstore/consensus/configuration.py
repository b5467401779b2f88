"""The membership of the cluster: a whole set, as Raft's single-server changes store it (dissertation 4.1).

A configuration is effective when it is appended and is refolded from snapshot and log after a truncation. It travels in
log entries, segment headers and snapshots in one form, `as_wire`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Member(NamedTuple):
    """`peer` and `http` are HOST:PORT and URL; `identity` the random id of its data directory, '' until bound."""

    name: str
    peer: str
    http: str
    voter: bool
    identity: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """All members, sorted by name, and the log `index` at which they took effect."""

    index: int
    members: tuple[Member, ...]
    voters: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """`voters`: names of the voting members, sorted; asked for many times in every step."""
        object.__setattr__(self, "voters", tuple(member.name for member in self.members if member.voter))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, sorted."""
        return tuple(member.name for member in self.members)

    def member(self, name: str) -> Member | None:
        """The member called `name`, or None."""
        return next((member for member in self.members if member.name == name), None)

    def as_wire(self) -> list[Any]:
        """Plain lists for msgpack."""
        return [self.index, [list(member) for member in self.members]]

    @classmethod
    def from_wire(cls, wire: Any) -> "Configuration":
        """The reverse of `as_wire`. Raises ValueError for anything else."""
        try:
            index, members = wire
            if not isinstance(index, int) or index < 0:
                raise ValueError("index")
            parsed = []
            for name, peer, http, voter, identity in members:
                if not all(isinstance(text, str) for text in (name, peer, http, identity)) or not isinstance(
                    voter, bool
                ):
                    raise ValueError("member")
                parsed.append(Member(name, peer, http, voter, identity))
        except (TypeError, ValueError) as broken:
            raise ValueError(f"not a configuration: {broken}") from broken
        return cls(index, tuple(sorted(parsed)))


def majority(voters: int) -> int:
    """The smallest number of voters that is more than half of them."""
    return voters // 2 + 1

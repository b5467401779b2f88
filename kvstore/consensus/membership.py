"""Changes of membership, one at a time (dissertation 4): pure rules about configurations and the log.

M1  A configuration is effective as soon as it is appended, committed or not. If its entry is truncated, the one before
    it is effective again: it is folded anew from the log and, below the log, from the snapshot.
M2  At most one voter is added or removed at a time, so that any two majorities of neighbouring configurations overlap.
M3  No change begins while the one before is not committed, nor before the leader has committed an entry of its term
    (dissertation 4.1 and the correction of 2015 to it).
M4  Who joins begins as a learner: it gets the log, but counts in no quorum until it has caught up. So adding a member
    never makes the cluster less available.
M5  A member is a name and the identity of a data directory. The leader binds the identity of a member as soon as it has
    answered something that was sent since it is a member; another directory under the same name is refused from then
    on. A connection alone proves nothing: it may be a former member's of that name whose host is gone without a word.
M6  An empty directory votes only in the first election of a new cluster, and only once its node has heard from every
    other first member that it has no log either (founding.py).

Alone, the engine tells neither commit nor overlap: its "one at a time" is dead code, and changes take effect at apply
(fact 14 of jepsen-like/regressions).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgpack

from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.engine import Objection

KIND: Final = 4
# A learner is promoted when it lacks at most this many entries.
PROMOTE_ENTRIES_MAX: Final = 256

LogEntry = tuple[bytes, int, int]


def to_command(configuration: Configuration) -> bytes:
    """The log entry's bytes, its kind first."""
    packed: bytes = msgpack.packb(configuration.as_wire())
    return bytes((KIND,)) + packed


def from_command(command: bytes) -> Configuration:
    """The configuration in a log entry of this kind. Raises ValueError for anything malformed."""
    try:
        wire = msgpack.unpackb(command[1:], strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as broken:
        raise ValueError(f"not a configuration: {broken}") from broken
    return Configuration.from_wire(wire)


def folded(entries: Sequence[LogEntry], below: Configuration, up_to: int | None = None) -> Configuration:
    """M1: the configuration in effect at index `up_to` (the log's end by default); `below` is what holds without
    entries.
    """
    for command, index, _ in reversed(entries):
        if command[0] == KIND and (up_to is None or index <= up_to):
            return from_command(command)
    return below


def objection(
    present: Configuration, members: tuple[Member, ...], *, commit_index: int, may_begin: bool
) -> Objection | None:
    """M2, M3: why the change from `present` to `members` cannot begin now, or None."""
    if not may_begin:
        return Objection("the leader has not committed an entry of its own term yet", passes=True)
    if present.index > commit_index:
        return Objection("another change is under way; one at a time", passes=True)
    voters = {member.name for member in members if member.voter}
    if not voters:
        return Objection("a cluster needs at least one voter", passes=False)
    if len(voters ^ set(present.voters)) > 1:
        return Objection("only one voter can be added or removed at a time", passes=False)
    return None


def with_identities(present: Configuration, known: Mapping[str, str]) -> tuple[Member, ...]:
    """M5: the members with identities filled in where they were not bound yet."""
    return tuple(
        member if member.identity else member._replace(identity=known.get(member.name, ""))
        for member in present.members
    )


def with_learner(present: Configuration, name: str, peer: str) -> tuple[Member, ...]:
    """M4: the members and a new learner."""
    return tuple(sorted([*present.members, Member(name, peer, "", False, "")]))


def with_promoted(present: Configuration, name: str) -> tuple[Member, ...]:
    """The members, `name` a voter."""
    return tuple(member._replace(voter=True) if member.name == name else member for member in present.members)


def without(present: Configuration, name: str) -> tuple[Member, ...]:
    """The members but `name`."""
    return tuple(member for member in present.members if member.name != name)

"""Commands: what the log carries and the state machine applies.

One log entry carries one envelope `[v, kind, ops, stamp, session, origin]` in msgpack. An envelope holds the operations
that arrived in one turn of the leader's loop; each is independent and gets a revision of its own. The order inside an
envelope is the order of arrival. A kind or version that this build does not know must stop the node: skipping it would
let replicas differ.

Operations are plain tuples, because tens of thousands a second pass through here:

    (OP_PUT, key: bytes, value: bytes, condition: int | None)
    (OP_DELETE, key: bytes, condition: int | None)

`condition`: None for none; 0, the key must be absent; -1, it must exist; n > 0, its mod_revision must be n.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from kvstore.model.stamp import Stamp

ENVELOPE_VERSION: Final = 1
KIND_OPS: Final = 0

OP_PUT: Final = 0
OP_DELETE: Final = 1

MUST_BE_ABSENT: Final = 0
MUST_EXIST: Final = -1

Op = tuple[Any, ...]


class UnknownCommand(Exception):
    """The log holds a command that this build cannot apply. The node must stop rather than skip it."""


class Command(NamedTuple):
    """A decoded envelope. `session` and `origin` are reserved and None until something writes them."""

    kind: int
    ops: Sequence[Op]
    stamp: Stamp
    session: Any = None
    origin: Any = None


def put(key: bytes, value: bytes, condition: int | None = None) -> Op:
    """A put of `value` under `key`."""
    return (OP_PUT, key, value, condition)


def delete(key: bytes, condition: int | None = None) -> Op:
    """A delete of `key`."""
    return (OP_DELETE, key, condition)


def op_bytes(op: Op) -> int:
    """The size that `op` counts for against the bounds on entries and queues, in bytes."""
    return 32 + len(op[1]) + (len(op[2]) if op[0] == OP_PUT else 0)


def encode(ops: list[Op], stamp: Stamp) -> bytes:
    """The envelope of `ops`, ready for the log."""
    packed: bytes = msgpack.packb((ENVELOPE_VERSION, KIND_OPS, ops, tuple(stamp), None, None))
    return packed


def decode(data: bytes) -> Command:
    """The envelope in `data`. Raises UnknownCommand for anything that `encode` of a known version did not write."""
    try:
        version, kind, ops, stamp, session, origin = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        stamp = Stamp(*stamp)
    except (ValueError, TypeError, msgpack.UnpackException) as broken:
        raise UnknownCommand(f"not a command envelope: {broken}") from broken
    if version != ENVELOPE_VERSION or kind != KIND_OPS:
        raise UnknownCommand(f"command version {version!r}, kind {kind!r} is not known to this build")
    return Command(kind, ops, stamp, session, origin)

"""Commands: what the log carries and the state machine applies.

One log entry carries one envelope `[v, kind, ops, stamp, session, origin]` in msgpack. A kind or version that this
build does not know must stop the node: skipping it would let replicas differ. There are two kinds.

**KIND_OPS**: the operations that arrived in one turn of the leader's loop, in the order of arrival; each is independent
and gets a revision of its own. They are plain tuples, because tens of thousands a second pass through here:

    (OP_PUT, key: bytes, value: bytes, condition: int | None [, once])
    (OP_DELETE, key: bytes, condition: int | None [, once])
    (OP_OPEN_SESSION,)                  its result's revision is the new session's number
    (OP_CLOSE_SESSION, session: int)

`condition`: None for none; 0, the key must be absent; -1, it must exist; n > 0, its mod_revision must be n.
`once` lets a repetition be known: an opaque idempotency key (bytes), or (session, sequence, floor), where `floor` is
the lowest sequence that the session's owner still waits for.

**KIND_INTENTS**: writes that one node has acknowledged at level ONE, in its order, with the stamps that it gave them.
`origin` is (node, epoch, previous epoch, sequence of the first, the leader's wall clock in milliseconds).

    (OP_PUT, key, value, ms, counter, once: bytes | None)
    (OP_DELETE, key, ms, counter, once: bytes | None)

The envelope's `session` stays None: many clients share an envelope, so a session travels with its operation.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgpack

from kvstore.model.stamp import Stamp

ENVELOPE_VERSION: Final = 1
KIND_OPS: Final = 0
KIND_INTENTS: Final = 1

OP_PUT: Final = 0
OP_DELETE: Final = 1
OP_OPEN_SESSION: Final = 2
OP_CLOSE_SESSION: Final = 3

MUST_BE_ABSENT: Final = 0
MUST_EXIST: Final = -1

Op = tuple[Any, ...]
Once = bytes | tuple[int, int, int]
"""An opaque idempotency key, or (session, sequence, floor)."""

_OP_OVERHEAD_BYTES: Final = 32


class UnknownCommand(Exception):
    """The log holds a command that this build cannot apply. The node must stop rather than skip it."""


class Origin(NamedTuple):
    """Whose intents an envelope carries. Epochs are random and never 0; `previous_epoch` is 0 for a node's first.

    `wall_ms` is the wall clock of the leader that appended it, by which the stamps of intents are bounded.
    """

    node: str
    epoch: int
    previous_epoch: int
    first_sequence: int
    wall_ms: int = 0


class Command(NamedTuple):
    """A decoded envelope. `session` is reserved; `origin` is there for intents only."""

    kind: int
    ops: Sequence[Op]
    stamp: Stamp
    session: Any = None
    origin: Origin | None = None


def put(key: bytes, value: bytes, condition: int | None = None, once: Once | None = None) -> Op:
    """A put of `value` under `key`."""
    return (OP_PUT, key, value, condition) if once is None else (OP_PUT, key, value, condition, once)


def delete(key: bytes, condition: int | None = None, once: Once | None = None) -> Op:
    """A delete of `key`."""
    return (OP_DELETE, key, condition) if once is None else (OP_DELETE, key, condition, once)


def open_session() -> Op:
    """A new session."""
    return (OP_OPEN_SESSION,)


def close_session(session: int) -> Op:
    """The end of a session: its answers are forgotten."""
    return (OP_CLOSE_SESSION, session)


def op_bytes(op: Op) -> int:
    """The size that `op` counts for against the bounds on entries and queues, in bytes."""
    kind = op[0]
    if kind > OP_DELETE:
        return _OP_OVERHEAD_BYTES
    size = _OP_OVERHEAD_BYTES + len(op[1]) + (len(op[2]) if kind == OP_PUT else 0)
    if len(op) > (4 if kind == OP_PUT else 3):
        once = op[-1]
        size += _OP_OVERHEAD_BYTES + (len(once) if type(once) is bytes else 0)
    return size


def frees_room(op: Op) -> bool:
    """Whether `op` may be applied while a majority has no room for more."""
    return op[0] in (OP_DELETE, OP_CLOSE_SESSION)


def request_digest(kind: int, key: bytes, value: bytes, condition: int | None) -> int:
    """64 bits that tell one request from another under the same idempotency key."""
    state = blake2b(b"%d %d %d " % (kind, -2 if condition is None else condition, len(key)), digest_size=8)
    state.update(key)
    state.update(value)
    return int.from_bytes(state.digest(), "little")


def encode(ops: list[Op], stamp: Stamp) -> bytes:
    """The envelope of independent operations, ready for the log."""
    packed: bytes = msgpack.packb((ENVELOPE_VERSION, KIND_OPS, ops, tuple(stamp), None, None))
    return packed


def encode_intents(ops: list[Op], stamp: Stamp, origin: Origin) -> bytes:
    """The envelope of intents, ready for the log."""
    packed: bytes = msgpack.packb((ENVELOPE_VERSION, KIND_INTENTS, ops, tuple(stamp), None, tuple(origin)))
    return packed


def decode(data: bytes) -> Command:
    """The envelope in `data`. Raises UnknownCommand for anything that `encode` of a known version did not write."""
    try:
        version, kind, ops, stamp, session, origin = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        stamp = Stamp(*stamp)
        if origin is not None:
            origin = Origin(*origin)
    except (ValueError, TypeError, msgpack.UnpackException) as broken:
        raise UnknownCommand(f"not a command envelope: {broken}") from broken
    if version != ENVELOPE_VERSION or kind not in (KIND_OPS, KIND_INTENTS):
        raise UnknownCommand(f"command version {version!r}, kind {kind!r} is not known to this build")
    return Command(kind, ops, stamp, session, origin)

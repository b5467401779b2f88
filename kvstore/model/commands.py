"""Commands: what the log carries and the state machine applies.

One log entry carries one envelope `[v, kind, ops, stamp, session, origin]` in msgpack. A kind or version that this
build does not know must stop the node: skipping it would let replicas differ. There are two kinds.

**KIND_OPS**: the operations that arrived in one turn of the leader's loop, in the order of arrival; each is independent
and gets a revision of its own. They are plain tuples, because tens of thousands a second pass through here:

    (OP_PUT, key: bytes, value: bytes, condition: int | None [, once])
    (OP_DELETE, key: bytes, condition: int | None [, once])
    (OP_OPEN_SESSION,)                  its result's revision is the new session's number
    (OP_CLOSE_SESSION, session: int)
    (OP_PUT_LEASED, key: bytes, value: bytes, condition, lease: int [, once])
    (OP_TXN, comparisons, then, otherwise [, once])         see `kvstore.model.transactions`
    (OP_DELETE_RANGE, start: bytes, end: bytes | None [, once])
    (OP_GRANT, ttl_ms: int [, once])                        its result's revision is the new lease's id
    (OP_REVOKE, lease: int [, once])
    (OP_EXPIRE, term: int, leases: tuple of int)            void unless the entry is of that term
    (OP_COMPACT, revision: int)                             forget the history up to it
    (OP_SET, name: str, value: int)                         a replicated setting, or the feature level; see `features`
    (OP_AUTH, action: int, arguments: tuple)                users, roles, keys; see `auth_commands`. Holds secrets
    (OP_CHECKED, auth revision, operation)                  another one, which was allowed to somebody at that auth
                                                            revision; void unless it still is the present one

`lease`: an id, 0 for none, -1 to keep the one that the key has. A plain put gives the key none.
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
OP_PUT_LEASED: Final = 4
OP_TXN: Final = 5
OP_DELETE_RANGE: Final = 6
OP_GRANT: Final = 7
OP_REVOKE: Final = 8
OP_EXPIRE: Final = 9
OP_COMPACT: Final = 10
OP_SET: Final = 11
OP_AUTH: Final = 12
OP_CHECKED: Final = 13

NO_LEASE: Final = 0
KEEP_LEASE: Final = -1

# How many fields an operation has, without `once`; and which kinds take that.
FIELDS: Final = {
    OP_PUT: 4,
    OP_DELETE: 3,
    OP_OPEN_SESSION: 1,
    OP_CLOSE_SESSION: 2,
    OP_PUT_LEASED: 5,
    OP_TXN: 4,
    OP_DELETE_RANGE: 3,
    OP_GRANT: 2,
    OP_REVOKE: 2,
    OP_EXPIRE: 3,
    OP_COMPACT: 2,
    OP_SET: 3,
    OP_AUTH: 3,
    OP_CHECKED: 3,
}
TAKES_ONCE: Final = frozenset({OP_PUT, OP_DELETE, OP_PUT_LEASED, OP_TXN, OP_DELETE_RANGE, OP_GRANT, OP_REVOKE})

MUST_BE_ABSENT: Final = 0
MUST_EXIST: Final = -1

Op = tuple[Any, ...]
Once = bytes | tuple[int, int, int]
"""An opaque idempotency key, or (session, sequence, floor)."""

_OP_OVERHEAD_BYTES: Final = 32
_PART_BYTES: Final = 12
_FREEING: Final = frozenset({OP_DELETE, OP_CLOSE_SESSION, OP_DELETE_RANGE, OP_REVOKE, OP_EXPIRE, OP_COMPACT, OP_SET})


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


def put(key: bytes, value: bytes, condition: int | None = None, once: Once | None = None, lease: int = NO_LEASE) -> Op:
    """A put of `value` under `key`."""
    if lease != NO_LEASE:
        return _with((OP_PUT_LEASED, key, value, condition, lease), once)
    return _with((OP_PUT, key, value, condition), once)


def delete(key: bytes, condition: int | None = None, once: Once | None = None) -> Op:
    """A delete of `key`."""
    return _with((OP_DELETE, key, condition), once)


def delete_range(start: bytes, end: bytes | None, once: Once | None = None) -> Op:
    """A delete of all keys from `start` up to `end` (exclusive; None: no upper bound), at one revision."""
    return _with((OP_DELETE_RANGE, start, end), once)


def open_session() -> Op:
    """A new session."""
    return (OP_OPEN_SESSION,)


def close_session(session: int) -> Op:
    """The end of a session: its answers are forgotten."""
    return (OP_CLOSE_SESSION, session)


def grant(ttl_ms: int, once: Once | None = None) -> Op:
    """A new lease."""
    return _with((OP_GRANT, ttl_ms), once)


def revoke(lease: int, once: Once | None = None) -> Op:
    """The end of a lease, and of the keys that are attached to it."""
    return _with((OP_REVOKE, lease), once)


def expire(term: int, leases: Sequence[int]) -> Op:
    """The end of leases that the leader of `term` has not heard of for too long."""
    return (OP_EXPIRE, term, tuple(leases))


def compact(revision: int) -> Op:
    """History up to `revision` may be forgotten."""
    return (OP_COMPACT, revision)


def set_setting(name: str, value: int) -> Op:
    """Another value of a replicated setting (`kvstore.model.changeable`), or a higher feature level."""
    return (OP_SET, name, value)


def auth(action: int, *arguments: Any) -> Op:
    """A change of users, roles or signing keys (`kvstore.model.auth_commands`)."""
    return (OP_AUTH, action, arguments)


def checked(op: Op, auth_revision: int) -> Op:
    """`op`, to be carried out only if the auth revision is still `auth_revision` then. At 0 nobody has checked it."""
    return (OP_CHECKED, auth_revision, op) if auth_revision and op[0] != OP_CHECKED else op


def plain(op: Op) -> Op:
    """An operation without what `checked` has put around it."""
    inner: Op = op[2] if op[0] == OP_CHECKED else op
    return inner


def shown(op: Any) -> str:
    """As much of an operation as may stand in a message: no secrets."""
    inner = op[2] if type(op) is tuple and len(op) == 3 and op[0] == OP_CHECKED else op
    if type(inner) is tuple and inner and inner[0] == OP_AUTH:
        return f"({OP_AUTH}, {inner[1] if len(inner) > 1 and type(inner[1]) is int else '?'}, ...)"
    return str(inner)[:200]


def shown_command(data: bytes) -> str:
    """As much of an envelope as may stand in a message."""
    try:
        ops = decode(data).ops
        secret = any(shown(op).startswith(f"({OP_AUTH},") for op in ops)
    except (UnknownCommand, TypeError):
        secret = False
    if secret:
        return f"{len(data)} bytes that hold secrets"
    return repr(data[:200])


def _with(op: Op, once: Once | None) -> Op:
    return op if once is None else (*op, once)


def split_once(op: Op) -> tuple[Op, Once | None]:
    """An operation without its `once`, and that."""
    fields = FIELDS[op[0]]
    return (op, None) if len(op) == fields else (op[:fields], op[fields])


def is_named(op: Op) -> bool:
    """Whether `op` is carried out once, however often it is proposed."""
    if op[0] == OP_CHECKED:
        op = op[2]
    return len(op) > FIELDS[op[0]]


def op_bytes(op: Op) -> int:
    """The size that `op` counts for against the bounds on entries and queues, in bytes."""
    kind = op[0]
    fields = FIELDS[kind]
    if kind <= OP_DELETE:
        size = _OP_OVERHEAD_BYTES + len(op[1]) + (len(op[2]) if kind == OP_PUT else 0)
    else:
        size = _size(op[:fields])
    if len(op) > fields:
        once = op[-1]
        size += _OP_OVERHEAD_BYTES + (len(once) if type(once) is bytes else 0)
    return size


def _size(part: Any) -> int:
    """Bytes of everything within, with an allowance for each part."""
    if type(part) is bytes:
        return _PART_BYTES + len(part)
    if isinstance(part, (tuple, list)):
        return _OP_OVERHEAD_BYTES + sum(map(_size, part))
    return _PART_BYTES


def frees_room(op: Op) -> bool:
    """Whether `op` may be applied while a majority has no room for more."""
    return plain(op)[0] in _FREEING


def request_digest(kind: int, key: bytes, value: bytes, condition: int | None) -> int:
    """64 bits that tell one request from another under the same idempotency key."""
    state = blake2b(b"%d %d %d " % (kind, -2 if condition is None else condition, len(key)), digest_size=8)
    state.update(key)
    state.update(value)
    return int.from_bytes(state.digest(), "little")


def op_digest(op: Op) -> int:
    """The same for an operation of any kind, without its `once`."""
    kind = op[0]
    if kind == OP_PUT:
        return request_digest(OP_PUT, op[1], op[2], op[3])
    if kind == OP_DELETE:
        return request_digest(OP_DELETE, op[1], b"", op[2])
    return int.from_bytes(blake2b(msgpack.packb(op), digest_size=8).digest(), "little")


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

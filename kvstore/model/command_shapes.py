"""Which commands this build knows how to apply: every part of an envelope is checked before any of it is applied."""

from collections.abc import Callable
from typing import Any, Final

from kvstore.limits import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    KEY_BYTES_MAX,
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    NAME_CHARS_MAX,
    REVISION_MAX,
    VALUE_BYTES_MAX,
)
from kvstore.model import transactions
from kvstore.model.auth_commands import known_auth
from kvstore.model.changeable import CHANGEABLE
from kvstore.model.commands import (
    FIELDS,
    KEEP_LEASE,
    KIND_INTENTS,
    KIND_OPS,
    MUST_EXIST,
    NO_LEASE,
    OP_AUTH,
    OP_CHECKED,
    OP_CLOSE_SESSION,
    OP_COMPACT,
    OP_DELETE,
    OP_DELETE_RANGE,
    OP_EXPIRE,
    OP_GRANT,
    OP_OPEN_SESSION,
    OP_PUT,
    OP_PUT_LEASED,
    OP_REVOKE,
    OP_SET,
    OP_TXN,
    TAKES_ONCE,
    Command,
    Op,
    UnknownCommand,
    plain,
    shown,
)
from kvstore.model.features import FEATURE_LEVEL, LEVEL

# The machine counts on from the stamps that it is given, and everything it keeps has to fit into 64 bits.
_STAMP_MAX: Final = (1 << 63) - 1


def check(command: Command) -> None:
    """Raise UnknownCommand unless every part has a shape that this build knows how to apply."""
    kind, ops, stamp, session, origin = command
    if session is not None or (kind, origin is None) not in ((KIND_OPS, True), (KIND_INTENTS, False)):
        raise UnknownCommand(f"kind {kind!r} with session {session!r} and origin {origin!r} is not known to this build")
    if not (_stamps(stamp.ms, stamp.counter, stamp.sequence) and type(stamp.node) is str):
        raise UnknownCommand(f"malformed stamp {stamp!r}")
    if type(ops) not in (list, tuple):
        raise UnknownCommand(f"operations of type {type(ops).__name__}")
    if origin is not None and not (
        type(origin.node) is str
        and 0 < len(origin.node) <= NAME_CHARS_MAX
        and _counts(origin.epoch, origin.previous_epoch, origin.first_sequence)
        and _stamps(origin.wall_ms)
        and origin.epoch
        and origin.first_sequence
    ):
        raise UnknownCommand(f"malformed origin {origin!r}")
    fits = known if origin is None else known_intent
    for op in ops:
        if not fits(op):
            raise UnknownCommand(f"malformed or unknown operation {shown(op)}")


def _counts(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _stamps(*numbers: Any) -> bool:
    return _counts(*numbers) and max(numbers) <= _STAMP_MAX


def known(op: Any) -> bool:
    """A client's operation; see `kvstore.model.commands`."""
    if type(op) is not tuple or not op:
        return False
    kind, size = op[0], len(op)
    # Most operations end here, tens of thousands a second.
    if kind == OP_PUT and size == 4 and op[3] is None:
        return type(op[1]) is bytes and type(op[2]) is bytes
    fits = _KNOWN.get(kind) if type(kind) is int else None
    if fits is None:
        return False
    fields = FIELDS[kind]
    if size != fields and not (size == fields + 1 and kind in TAKES_ONCE and _known_once(op[fields])):
        return False
    return fits(*op[1:fields])


def within_limits(op: Op) -> bool:
    """Whether an operation of a known shape is within the bounds that doors keep. Who applies it does not ask: what is
    in the log has been acknowledged, whatever bounds held then.
    """
    op = plain(op)
    kind = op[0]
    if kind in (OP_PUT, OP_PUT_LEASED):
        return _is_key(op[1]) and len(op[2]) <= VALUE_BYTES_MAX and (op[3] or 0) <= REVISION_MAX
    if kind == OP_DELETE:
        return _is_key(op[1]) and (op[2] or 0) <= REVISION_MAX
    if kind == OP_DELETE_RANGE:
        return len(op[1]) <= KEY_BYTES_MAX and (op[2] is None or _is_key(op[2]))
    if kind == OP_SET:
        bounds = CHANGEABLE.get(op[1])
        return bounds is not None and bounds.allow(op[2])
    if kind == OP_GRANT:
        return bool(LEASE_TTL_MS_MIN <= op[1] <= LEASE_TTL_MS_MAX)
    return True


def _is_key(key: bytes) -> bool:
    return 0 < len(key) <= KEY_BYTES_MAX


def _condition(condition: Any) -> bool:
    return condition is None or (type(condition) is int and condition >= MUST_EXIST)


def _setting(name: Any, value: Any) -> bool:
    """A level that this build does not reach is a command that it does not know."""
    if type(name) is not str or type(value) is not int or value <= 0:
        return False
    return value <= LEVEL if name == FEATURE_LEVEL else name in CHANGEABLE


def _checked(auth_revision: Any, op: Any) -> bool:
    """What only leaders order is checked for nobody."""
    inner = type(op) is tuple and op and op[0] not in (OP_CHECKED, OP_EXPIRE)
    return bool(inner) and _stamps(auth_revision) and auth_revision > 0 and known(op)


def _transaction(comparisons: Any, then: Any, otherwise: Any) -> bool:
    try:
        transactions.check(comparisons, then, otherwise)
    except transactions.BadTransaction:
        return False
    return True


_KNOWN: Final[dict[int, Callable[..., bool]]] = {
    OP_PUT: lambda key, value, condition: type(key) is type(value) is bytes and _condition(condition),
    OP_DELETE: lambda key, condition: type(key) is bytes and _condition(condition),
    OP_OPEN_SESSION: lambda: True,
    OP_CLOSE_SESSION: lambda session: _counts(session),
    OP_PUT_LEASED: lambda key, value, condition, lease: (
        type(key) is type(value) is bytes
        and _condition(condition)
        and (lease == KEEP_LEASE or _stamps(lease))
        and lease != NO_LEASE
    ),
    OP_TXN: _transaction,
    OP_DELETE_RANGE: lambda start, end: type(start) is bytes and (end is None or type(end) is bytes),
    OP_GRANT: lambda ttl_ms: _stamps(ttl_ms) and ttl_ms > 0,
    OP_REVOKE: lambda lease: _counts(lease),
    OP_EXPIRE: lambda term, leases: type(leases) is tuple and _counts(term, *leases),
    OP_COMPACT: lambda revision: _counts(revision),
    OP_SET: _setting,
    OP_AUTH: known_auth,
    OP_CHECKED: _checked,
}
"""Of each kind: whether its fields are of their types and within their bounds."""


def _known_once(once: Any) -> bool:
    if type(once) is bytes:
        return 0 < len(once) <= IDEMPOTENCY_KEY_BYTES_MAX
    return type(once) is tuple and len(once) == 3 and _counts(*once)


def known_intent(op: Any) -> bool:
    """An intent's operation; see `kvstore.model.commands`."""
    if type(op) is not tuple or len(op) < 5 or type(op[1]) is not bytes:
        return False
    if op[0] == OP_PUT:
        if len(op) != 6 or type(op[2]) is not bytes:
            return False
    elif op[0] != OP_DELETE or len(op) != 5:
        return False
    ms, counter, once = op[-3:]
    return _stamps(ms, counter) and (once is None or (type(once) is bytes and _known_once(once)))

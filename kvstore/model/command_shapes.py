"""Which commands this build knows how to apply: every part of an envelope is checked before any of it is applied."""

from typing import Any, Final

from kvstore.limits import IDEMPOTENCY_KEY_BYTES_MAX, NAME_CHARS_MAX
from kvstore.model.commands import (
    KIND_INTENTS,
    KIND_OPS,
    MUST_EXIST,
    OP_CLOSE_SESSION,
    OP_DELETE,
    OP_OPEN_SESSION,
    OP_PUT,
    Command,
    UnknownCommand,
)

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
    known = _known if origin is None else known_intent
    for op in ops:
        if not known(op):
            raise UnknownCommand(f"malformed or unknown operation {str(op)[:200]}")


def _counts(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _stamps(*numbers: Any) -> bool:
    return _counts(*numbers) and max(numbers) <= _STAMP_MAX


def _known(op: Any) -> bool:
    """A client's operation; see `kvstore.model.commands`."""
    if type(op) is not tuple or not op:
        return False
    kind, size = op[0], len(op)
    if kind == OP_PUT:
        if not 4 <= size <= 5 or type(op[1]) is not bytes or type(op[2]) is not bytes:
            return False
        condition = op[3]
        # Most operations end here, tens of thousands a second.
        if size == 4 and condition is None:
            return True
        once = op[4:]
    elif kind == OP_DELETE:
        if not 3 <= size <= 4 or type(op[1]) is not bytes:
            return False
        condition, once = op[2], op[3:]
    elif kind == OP_OPEN_SESSION:
        return size == 1
    else:
        return bool(kind == OP_CLOSE_SESSION and size == 2 and _counts(op[1]))
    if once and not _known_once(once[0]):
        return False
    return condition is None or (type(condition) is int and condition >= MUST_EXIST)


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

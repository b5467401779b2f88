"""What an operation needs, as a question to somebody's rights; a refusal names the verb and the key, and nothing of
what is there.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kvstore.errors import Forbidden
from kvstore.model.batches import BatchOp
from kvstore.model.commands import OP_DELETE, OP_DELETE_RANGE, OP_PUT, OP_TXN, Op
from kvstore.model.keys import prefix_end
from kvstore.model.permissions import ADMIN, DELETE, LEASE, NAMES, READ, WATCH, WRITE, Rights
from kvstore.model.transactions import STEP_GET, STEP_RANGE

Need = Callable[[Rights], None]
"""Raises Forbidden."""

_SHOWN_BYTES_MAX = 200
_OF_KIND = {"put": WRITE, "delete": DELETE, "get": READ}


def on_key(verb: int, key: bytes) -> Need:
    """`verb` on one key."""

    def need(rights: Rights) -> None:
        if not rights.on_key(verb, key):
            raise Forbidden(f"{NAMES[verb]} is not allowed on the key {shown(key)}")

    return need


def on_range(verb: int, start: bytes, end: bytes | None) -> Need:
    """`verb` on all keys of a range."""

    def need(rights: Rights) -> None:
        if not rights.on_range(verb, start, end):
            to = "the last one" if end is None else f"{shown(end)} (exclusive)"
            raise Forbidden(f"{NAMES[verb]} is not allowed on all keys from {shown(start)} to {to}")

    return need


def on_prefix(verb: int, prefix: bytes) -> Need:
    """`verb` on all keys that begin with `prefix`."""
    return on_range(verb, prefix, prefix_end(prefix))


def anywhere(verb: int) -> Need:
    """A verb that is of no key."""

    def need(rights: Rights) -> None:
        if not rights.anywhere(verb):
            raise Forbidden(f"{NAMES[verb]} is not allowed")

    return need


def known(rights: Rights) -> None:
    """Nothing but to be somebody."""


admin = anywhere(ADMIN)
lease = anywhere(LEASE)


def both(*needs: Need) -> Need:
    """All of them."""

    def need(rights: Rights) -> None:
        for each in needs:
            each(rights)

    return need


def put(key: bytes, attached_to: int) -> Need:
    """A put; attaching a key to a lease is a use of that, too."""
    return both(on_key(WRITE, key), lease) if attached_to > 0 else on_key(WRITE, key)


def deletes_all(keys: Iterable[bytes]) -> Need:
    """The end of a lease with these keys; none of them is named."""
    gone = tuple(keys)

    def need(rights: Rights) -> None:
        if not all(rights.on_key(DELETE, key) for key in gone):
            raise Forbidden("delete is not allowed on all keys that end with the lease")

    return need


def of_batch(op: BatchOp) -> Need:
    """One operation of a batch."""
    return put(op.key, op.lease) if op.kind == "put" else on_key(_OF_KIND[op.kind], op.key)


def watched(key: bytes, *, prefix: bool) -> Need:
    """A watch."""
    return on_prefix(WATCH, key) if prefix else on_key(WATCH, key)


def transaction(op: Op) -> Need:
    """Everything that a transaction compares, reads and changes, whichever of its lists is taken."""
    return both(*_of_lists(op[1:4]))


def _of_lists(lists: Sequence[Any]) -> Iterable[Need]:
    comparisons, then, otherwise = lists
    for comparison in comparisons:
        yield on_key(READ, comparison[1])
    for step in (*then, *otherwise):
        kind = step[0]
        if kind == OP_PUT:
            yield put(step[1], step[3])
        elif kind == OP_DELETE:
            yield on_key(DELETE, step[1])
        elif kind == OP_DELETE_RANGE:
            yield on_range(DELETE, step[1], step[2])
        elif kind == STEP_GET:
            yield on_key(READ, step[1])
        elif kind == STEP_RANGE:
            yield on_range(READ, step[1], step[2])
        else:
            assert kind == OP_TXN
            yield from _of_lists(step[1:4])


def shown(key: bytes) -> str:
    """A key as text."""
    some = key[:_SHOWN_BYTES_MAX]
    text = some.decode("utf-8", "backslashreplace")
    return repr(text) + ("..." if len(key) > len(some) else "")

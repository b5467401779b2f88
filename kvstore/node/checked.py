"""At which auth revision what is being done was checked (rule A2 of `kvstore.state.auth`).

Who checks says so around the calls of the node, and every write that is proposed within carries it. It is a context
variable, so that nothing on a way of a write has to hand it on; a write that was begun outside has none, and is refused
while auth is enabled.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from kvstore.model.commands import Op, checked

_AT: Final[ContextVar[int]] = ContextVar("auth_revision", default=0)


@contextmanager
def checked_at(auth_revision: int) -> Iterator[None]:
    """What is proposed within was allowed at this auth revision."""
    token = _AT.set(auth_revision)
    try:
        yield
    finally:
        _AT.reset(token)


def as_checked(op: Op) -> Op:
    """`op`, with the auth revision at which it was checked, if it was."""
    at = _AT.get()
    return checked(op, at) if at else op


def all_checked(ops: Sequence[Op]) -> Sequence[Op]:
    """The same for many."""
    at = _AT.get()
    return [checked(op, at) for op in ops] if at else ops

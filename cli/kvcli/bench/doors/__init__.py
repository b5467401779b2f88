"""The ways to a cluster that can be measured, one file each.

A door's file has `open_callers(plan)`, an asynchronous context manager that gives some callers; client number i uses
caller number i modulo their count, so that a door may share a connection among clients or not. What is not measured
(preparing and deleting keys) goes through the client library whatever the door.
"""

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol, cast

from kvcli.bench.plan import Operation, Plan
from kvstore.errors import KvError, LocalError


class Caller(Protocol):
    """Does operations, each acknowledged at the level of the plan when it returns.

    Raises KvError or LocalError, which say whether the operation took effect.
    """

    async def put(self, key: bytes, value: bytes) -> None: ...

    async def get(self, key: bytes) -> None: ...

    async def batch(self, operations: Sequence[tuple[Operation, bytes]], value: bytes) -> list[KvError | LocalError]:
        """All in one call; the errors of those that failed."""
        ...


Opener = Callable[[Plan], AbstractAsyncContextManager[Sequence[Caller]]]


class Entry(NamedTuple):
    """A door: its module, and the words for `--help`."""

    module: str
    help: str


DOORS: Final[dict[str, Entry]] = {
    "http": Entry("kvcli.bench.doors.http", "a request for each operation"),
    "batch": Entry("kvcli.bench.doors.batch", "the client library puts together what is begun at once"),
    "redis": Entry("kvcli.bench.doors.redis", "a command on a connection of each client's own"),
}


def open_door(plan: Plan) -> AbstractAsyncContextManager[Sequence[Caller]]:
    """The callers of the plan's door."""
    module = importlib.import_module(DOORS[plan.door].module)
    return cast(Opener, module.open_callers)(plan)

"""What the Redis door needs of a node, and nothing more."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from kvstore.errors import KvError
from kvstore.guard.gate import AuthStore
from kvstore.model.batches import BatchOp
from kvstore.model.commands import Once, Op
from kvstore.model.levels import Level
from kvstore.model.results import (
    Change,
    ClusterView,
    LeaseAnswer,
    OpResult,
    RangeAnswer,
    ReadAnswer,
    Receipt,
    Record,
    WriteAnswer,
)


class Written(Protocol):
    """A write that met its level."""

    @property
    def result(self) -> OpResult:
        """What applying it gave."""


class Ended(Protocol):
    """Why a watch has ended."""

    @property
    def why(self) -> str:
        """lagged, compacted or closed."""


class Watch(Protocol):
    """A watch of some keys."""

    async def changes(self, at: float) -> list[Change] | Ended:
        """The next changes, in whole revisions; none if there are none until loop time `at`."""

    def close(self) -> None:
        """Nobody reads it any more. Harmless when repeated."""


class LeaseStore(Protocol):
    """Leases, as far as times to live need them. Times are in milliseconds."""

    async def grant(self, ttl_ms: int, *, once: Once | None, timeout_s: float) -> LeaseAnswer:
        """A new lease. Raises Overloaded when there are too many."""

    async def lease(self, lease: int, *, timeout_s: float) -> LeaseAnswer:
        """One lease. Raises LeaseNotFound."""

    async def revoke(self, lease: int, *, once: Once | None, timeout_s: float) -> int:
        """Ends a lease with the keys that are attached to it. Raises LeaseNotFound."""


class Store(Protocol):
    """The store as one node offers it. `at` is a time of the event loop. Whatever raises, raises KvError.

    A call is never cancelled because its client went away: what was begun runs to its end or its deadline.
    """

    name: str

    @property
    def leases(self) -> LeaseStore:
        """Leases."""

    async def write_batch(self, ops: Sequence[Op], level: Level, at: float) -> Sequence[Written | KvError]:
        """Writes at QUORUM or ALL, in their order, each with its result, or why it was refused or is unknown.

        Those that are applied are applied in the order of `ops` if all fit into one part (`limits.BATCH_PART_*`).
        """

    def enter_one(self, op: BatchOp) -> Awaitable[WriteAnswer]:
        """A write at ONE: taken in when called, acknowledged when awaited. Raises KvError, at either moment."""

    async def freshen_batch(self, level: Level, at: float) -> None:
        """Waits until the state is as fresh as `level`, ONE or QUORUM, asks."""

    def record_now(self, key: bytes, level: Level) -> Record | None:
        """What the applied state says of `key`, laid over with this node's own pending writes at level ONE."""

    def read_now(self, key: bytes, level: Level) -> ReadAnswer:
        """The same, and how far that state has come."""

    async def read_all(self, key: bytes, at: float) -> ReadAnswer:
        """A read at ALL. Raises MembersUnreachable, Divergence."""

    async def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        level: Level,
        limit: int,
        after: bytes | None,
        reverse: bool,
        revision: int | None,
        count: int | None,
        timeout_s: float,
    ) -> RangeAnswer:
        """One page of the keys in [start, end), continuing behind `after`, at level ONE or QUORUM."""

    async def watch(self, key: bytes, *, prefix: bool, start: int | None, timeout_s: float) -> Watch:
        """Every change of `key`, or of all keys that begin with it, from now on with `start` None. Raises
        Overloaded.
        """

    async def receipt(self, text: str, *, timeout_s: float) -> Receipt:
        """What became of a write at level ONE."""

    async def cluster(self) -> ClusterView:
        """The cluster as this node sees it now; silent members delay the answer by a fraction of a second at most."""

    def ready(self) -> str | None:
        """None when the node can serve, otherwise the reason why not, for people."""

    def end_watches(self) -> None:
        """This node is about to stop: every watch ends."""


class NodeStore(Store, AuthStore, Protocol):
    """The store as the door gets it."""

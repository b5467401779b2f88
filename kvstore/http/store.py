"""What the HTTP door needs of a node, and nothing more."""

from collections.abc import Sequence
from typing import Any, Protocol

from kvstore.guard.gate import AuthStore
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Once, Op
from kvstore.model.levels import Level
from kvstore.model.results import (
    Change,
    ClusterView,
    LeaseAnswer,
    RangeAnswer,
    RangeDeleted,
    ReadAnswer,
    Receipt,
    TxnAnswer,
    WriteAnswer,
)
from kvstore.model.stamp import Stamp
from kvstore.state.auth import Auth


class TransactionStore(Protocol):
    """What changes several keys at one revision, and compaction."""

    async def transact(self, op: Op, *, level: Level, timeout_s: float) -> TxnAnswer:
        """Carries out a transaction, made by `kvstore.model.transactions` and checked. Raises LeaseNotFound,
        TooLarge.
        """

    async def delete_range(
        self, start: bytes, end: bytes | None, *, level: Level, once: Once | None, timeout_s: float
    ) -> RangeDeleted:
        """Deletes the keys in [start, end). Raises TooLarge if they are too many for one revision."""

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        """Forgets the history up to `revision`. Raises Compacted if it is forgotten already, or not reached."""


class LeaseStore(Protocol):
    """Leases. Times are in milliseconds."""

    async def grant(self, ttl_ms: int, *, once: Once | None, timeout_s: float) -> LeaseAnswer:
        """A new lease. Raises Overloaded when there are too many."""

    async def keep_alive(self, leases: Sequence[int], *, timeout_s: float) -> list[int]:
        """Gives each its whole time again; that time, or 0 for one that is not there."""

    async def lease(self, lease: int, *, timeout_s: float) -> LeaseAnswer:
        """One lease. Raises LeaseNotFound."""

    async def leases(self, *, timeout_s: float) -> list[int]:
        """The ids of all, rising."""

    async def revoke(self, lease: int, *, once: Once | None, timeout_s: float) -> int:
        """Ends a lease; how many keys were deleted with it. Raises LeaseNotFound."""


class Ended(Protocol):
    """Why a watch has ended, and where another one can begin."""

    @property
    def why(self) -> str:
        """lagged, compacted or closed."""

    @property
    def revision(self) -> int:
        """Where to begin."""


class Watch(Protocol):
    """A watch of some keys."""

    @property
    def revision(self) -> int:
        """Everything up to it has been told."""

    async def changes(self, at: float) -> list[Change] | Ended:
        """The next changes, in whole revisions; none if there are none until loop time `at`."""

    def close(self) -> None:
        """Nobody reads it any more. Harmless when repeated."""


class Backup(Protocol):
    """A backup that is being read."""

    index: int
    """Of the last log entry that is in it."""

    size: int
    """In bytes."""

    async def read(self, offset: int) -> bytes:
        """The next bytes from `offset` on; none at the end."""

    def close(self) -> None:
        """It is not read any more. Harmless when repeated."""


class Store(Protocol):
    """The store as one node offers it. Every method raises `kvstore.errors.KvError`, and answers within `timeout_s`.

    A call is never cancelled because its client went away: what was begun runs to its end or its deadline.
    """

    name: str

    @property
    def transactions(self) -> TransactionStore:
        """Transactions."""

    @property
    def leases(self) -> LeaseStore:
        """Leases."""

    async def watch(self, key: bytes, *, prefix: bool, start: int | None, timeout_s: float) -> Watch:
        """Every change of `key`, or of all keys that begin with it, from revision `start` on; None: from now. Raises
        Compacted, or Overloaded.
        """

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: Level,
        condition: int | None,
        once: Once | None,
        lease: int,
        timeout_s: float,
    ) -> WriteAnswer:
        """Writes `value`. `condition`, `once` and `lease` as in `kvstore.model.commands`; level ONE takes no condition,
        no session and no lease. Raises LeaseNotFound.
        """

    async def delete(
        self, key: bytes, *, level: Level, condition: int | None, once: Once | None, timeout_s: float
    ) -> WriteAnswer:
        """Deletes `key`. Raises NotFound when it is absent and no condition was given, but not at level ONE."""

    async def open_session(self, *, timeout_s: float) -> int:
        """The number of a new session. Raises Overloaded when there are too many."""

    async def close_session(self, session: int, *, timeout_s: float) -> None:
        """Forgets the session and its answers; one that is gone already is no error."""

    async def receipt(self, text: str, *, timeout_s: float) -> Receipt:
        """What became of a write at level ONE. Raises MembersUnreachable when only a node that is away could tell."""

    async def get(
        self,
        key: bytes,
        *,
        level: Level,
        min_revision: int | None,
        max_staleness_s: float | None,
        revision: int | None,
        timeout_s: float,
    ) -> ReadAnswer:
        """Reads `key`, from a state that has reached `min_revision` at least and, at level ONE, lacks nothing that was
        acknowledged longer ago than `max_staleness_s`. Or as it was at `revision`. Raises Divergence at level ALL, and
        Compacted.
        """

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
        """One page of the keys in [start, end), to the end of the keyspace for None, continuing behind `after`; as it
        was at `revision`. `count`: how many keys the whole range has, if an earlier page has told. Raises Compacted.
        """

    async def batch(self, ops: Sequence[BatchOp], *, timeout_s: float) -> list[BatchResult]:
        """Carries out all of `ops`, each for itself; their results in the same order. Never raises for one."""

    async def settings(self, *, timeout_s: float) -> tuple[int, dict[str, int]]:
        """The feature level, and all replicated settings."""

    async def change_setting(self, name: str, value: int, *, timeout_s: float) -> None:
        """Gives a setting of `kvstore.model.changeable` another value. Raises UpgradeIncomplete."""

    async def backup(self, *, level: Level, timeout_s: float) -> Backup:
        """A backup with everything that was acknowledged before, or, at level ONE, that this node has. Raises
        Overloaded, StorageFull.
        """

    async def cluster(self) -> ClusterView:
        """The cluster as this node sees it now; silent members delay the answer by a fraction of a second at most."""

    async def add_member(self, name: str, peer: str, *, timeout_s: float) -> ClusterView:
        """Takes in `name`, which listens to peers at `peer` (HOST:PORT), as a learner. Raises MembershipRefused."""

    async def remove_member(self, name: str, *, force: bool, timeout_s: float) -> tuple[ClusterView, int | None]:
        """Removes `name`; also how many acknowledged level ONE writes went with it, None if nobody knows. Raises
        MembershipRefused, without `force` also where there may be any.
        """

    async def transfer_leader(self, name: str | None, *, timeout_s: float) -> ClusterView:
        """Makes `name`, or whoever is most current, the leader. Raises MembershipRefused."""

    async def auth_now(self, *, timeout_s: float) -> Auth:
        """Users and roles, with every change that was acknowledged before."""

    async def change_auth(self, action: int, arguments: tuple[Any, ...], *, timeout_s: float) -> int:
        """Changes users, roles or keys (`kvstore.model.auth_commands`); the auth revision then. Raises AuthRefused,
        AuthNotFound, UpgradeIncomplete.
        """

    def trace_lines(self, since: int, limit: int) -> bytes:
        """The first `limit` of the protocol's events numbered `since` and above that are kept, as JSON lines."""

    def ready(self) -> str | None:
        """None when the node can serve, otherwise the reason why not, for people."""

    def stamp(self) -> Stamp:
        """The highest stamp this node knows of."""

    def heard(self, stamp: Stamp) -> None:
        """A client tells the highest stamp that it has seen: what is written here from now on is above it, unless it
        is further ahead than clocks may be.
        """


class NodeStore(Store, AuthStore, Protocol):
    """The store as the door gets it, before it is known who asks."""

    def end_watches(self) -> None:
        """This node is about to stop: every watch ends, and can go on elsewhere."""

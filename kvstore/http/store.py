"""What the HTTP door needs of a node, and nothing more."""

from collections.abc import Sequence
from typing import Protocol

from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Once
from kvstore.model.levels import Level
from kvstore.model.results import ClusterView, RangeAnswer, ReadAnswer, Receipt, WriteAnswer
from kvstore.model.stamp import Stamp


class Store(Protocol):
    """The store as one node offers it. Every method raises `kvstore.errors.KvError`, and answers within `timeout_s`.

    A call is never cancelled because its client went away: what was begun runs to its end or its deadline.
    """

    name: str

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: Level,
        condition: int | None,
        once: Once | None,
        timeout_s: float,
    ) -> WriteAnswer:
        """Writes `value`. `condition` and `once` as in `kvstore.model.commands`; level ONE takes no condition and no
        session.
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
        timeout_s: float,
    ) -> ReadAnswer:
        """Reads `key`, from a state that has reached `min_revision` at least and, at level ONE, lacks nothing that was
        acknowledged longer ago than `max_staleness_s`. Raises Divergence at level ALL.
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
        timeout_s: float,
    ) -> RangeAnswer:
        """One page of the keys in [start, end), to the end of the keyspace for None, continuing behind `after`."""

    async def batch(self, ops: Sequence[BatchOp], *, timeout_s: float) -> list[BatchResult]:
        """Carries out all of `ops`, each for itself; their results in the same order. Never raises for one."""

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

    def ready(self) -> str | None:
        """None when the node can serve, otherwise the reason why not, for people."""

    def stamp(self) -> Stamp:
        """The highest stamp this node knows of."""

    def heard(self, stamp: Stamp) -> None:
        """A client tells the highest stamp that it has seen: what is written here from now on is above it, unless it
        is further ahead than clocks may be.
        """

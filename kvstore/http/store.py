"""What the HTTP door needs of a node, and nothing more."""

from typing import Protocol

from kvstore.model.levels import Level
from kvstore.model.results import ClusterView, RangeAnswer, ReadAnswer, WriteAnswer
from kvstore.model.stamp import Stamp


class Store(Protocol):
    """The store as one node offers it. Every method raises `kvstore.errors.KvError`, and answers within `timeout_s`.

    A call is never cancelled because its client went away: what was begun runs to its end or its deadline.
    """

    name: str

    async def put(
        self, key: bytes, value: bytes, *, level: Level, condition: int | None, timeout_s: float
    ) -> WriteAnswer:
        """Writes `value`. `condition` as in `kvstore.model.commands`."""

    async def delete(self, key: bytes, *, level: Level, condition: int | None, timeout_s: float) -> WriteAnswer:
        """Deletes `key`. Raises NotFound when it is absent and no condition was given."""

    async def get(self, key: bytes, *, level: Level, min_revision: int | None, timeout_s: float) -> ReadAnswer:
        """Reads `key`, from a state that has reached `min_revision` at least."""

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

    async def cluster(self) -> ClusterView:
        """The cluster as this node sees it now; silent members delay the answer by a fraction of a second at most."""

    async def add_member(self, name: str, peer: str, *, timeout_s: float) -> ClusterView:
        """Takes in `name`, which listens to peers at `peer` (HOST:PORT), as a learner. Raises MembershipRefused."""

    async def remove_member(self, name: str, *, timeout_s: float) -> ClusterView:
        """Removes `name`. Raises MembershipRefused."""

    async def transfer_leader(self, name: str | None, *, timeout_s: float) -> ClusterView:
        """Makes `name`, or whoever is most current, the leader. Raises MembershipRefused."""

    def ready(self) -> str | None:
        """None when the node can serve, otherwise the reason why not, for people."""

    def stamp(self) -> Stamp:
        """The highest stamp this node knows of."""

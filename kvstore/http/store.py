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

    def ready(self) -> str | None:
        """None when the node can serve, otherwise the reason why not, for people."""

    def stamp(self) -> Stamp:
        """The highest stamp this node knows of."""

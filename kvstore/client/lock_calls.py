"""Locks and elections, as methods of AsyncClient. It stands on the others: client.py puts them together."""

from typing import TYPE_CHECKING, cast

from kvstore.client.calls import Calls
from kvstore.client.locks import AsyncElection, AsyncLock

if TYPE_CHECKING:
    from kvstore.client.client import AsyncClient


class LockCalls(Calls):
    """See AsyncClient."""

    def lock(
        self, name: str | bytes, ttl_seconds: float = 10.0, *, value: bytes = b"", timeout_s: float | None = None
    ) -> AsyncLock:
        """A lock that many processes want and one holds: `async with client.lock("name") as lock: ...`. First come,
        first served. A holder that is silent for `ttl_seconds` loses it. `lock.token` is the fencing token,
        `lock.guard` a comparison for transactions, that holds as long as the lock does. See AsyncLock.
        """
        return AsyncLock(cast("AsyncClient", self), name, value, ttl_seconds, self._within(timeout_s))

    def elect(
        self, name: str | bytes, value: bytes = b"", ttl_seconds: float = 10.0, *, timeout_s: float | None = None
    ) -> AsyncElection:
        """An election: `async with client.elect("name", b"me") as leadership: ...` runs its block while this candidate
        leads. `leader()` and `observe()` tell who does. See AsyncElection.
        """
        return AsyncElection(cast("AsyncClient", self), name, value, ttl_seconds, self._within(timeout_s))

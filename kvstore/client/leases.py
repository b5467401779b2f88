"""A lease that keeps itself alive.

1. It is kept alive at a third of its time to live.
2. Its time is counted here from the moment when the last successful keepalive was sent, which is before the leader
   counts. When that time is over, or the cluster says that the lease is gone, it is lost: who holds something by it
   must believe so, though it may still be there. A lost lease is never found again.
3. A process that was stopped, or slow, finds out late. So what must never happen after a loss is made to depend on the
   store: with a comparison in a transaction (`kvstore.client.locks`), not with a look at `lost`.
"""

import asyncio
from types import TracebackType
from typing import Protocol, Self

from kvstore import limits
from kvstore.client.results import KeptAlive
from kvstore.client.retry import Pacing
from kvstore.errors import KvError, LeaseLost, LocalError


class _Leases(Protocol):
    async def grant(self, ttl_seconds: float, *, timeout_s: float | None = None) -> int: ...

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> int: ...

    async def keep_alive(self, lease_ids: list[int], *, timeout_s: float | None = None) -> KeptAlive: ...


class AsyncLease:
    """Made by `AsyncClient.lease`; an async context manager. If it was lost while its block ran, the end of the block
    raises LeaseLost, unless something else was raised.
    """

    def __init__(self, client: _Leases, ttl_seconds: float, timeout_s: float, pacing: Pacing) -> None:
        self.ttl_seconds = ttl_seconds
        self._client = client
        self._timeout_s = timeout_s
        self._pacing = pacing
        self._id = 0
        self._lost = asyncio.Event()
        self._why = ""
        self._keeping: asyncio.Task[None] | None = None

    @property
    def id(self) -> int:
        """What keys are attached with. 0 before it is granted."""
        return self._id

    @property
    def lost(self) -> bool:
        """Whether it must be taken to be over."""
        return self._lost.is_set()

    async def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Waits until it is lost, or for `timeout_s`; whether it is."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._lost.wait()
        except TimeoutError:
            pass
        return self.lost

    def check(self) -> None:
        """Raises LeaseLost if it is lost."""
        if self.lost:
            raise LeaseLost(self._why)

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()
        if error is None:
            self.check()

    async def begin(self) -> None:
        """Has it granted, and begins to keep it alive."""
        if self._id:
            raise RuntimeError("a lease is granted once; make another one")
        began = self._pacing.now()
        self._id = await self._client.grant(self.ttl_seconds, timeout_s=self._timeout_s)
        self._keeping = asyncio.create_task(self._keep(began + self.ttl_seconds))

    async def end(self) -> None:
        """Revokes it; if that cannot be done soon, it expires by itself. Harmless when repeated."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        if self.lost and self._why.startswith("the cluster"):
            return
        try:
            await self._client.revoke(self._id, timeout_s=min(self._timeout_s, self.ttl_seconds))
        except (KvError, LocalError):
            return

    async def _keep(self, ends: float) -> None:
        """Rules 1 and 2."""
        third_s = self.ttl_seconds / 3
        pause_s = third_s
        while True:
            await self._pacing.sleep(max(0.0, min(pause_s, ends - self._pacing.now())))
            sent = self._pacing.now()
            if sent >= ends:
                return self._lose(f"lease {self._id} could not be kept alive for {self.ttl_seconds:g} s")
            try:
                kept = await self._client.keep_alive([self._id], timeout_s=max(min(third_s, ends - sent), 0.001))
            except (KvError, LocalError):
                pause_s = min(limits.RETRY_BACKOFF_S_MAX, third_s)
                continue
            if self._id in kept.gone:
                return self._lose(f"the cluster has no lease {self._id} any more: it expired or was revoked")
            ends, pause_s = sent + self.ttl_seconds, third_s

    def _lose(self, why: str) -> None:
        self._why = why
        self._lost.set()

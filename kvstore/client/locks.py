"""Locks and elections on leases, as etcd's concurrency package has them.

1. Who wants the lock NAME puts a key NAME/<lease id as 16 hexadecimal digits> under a lease that keeps itself alive.
   The key with the lowest create_revision owns the lock; the others wait in the order of theirs.
2. Each waits for the deletion of the key right before its own, so that a release wakes one, not all.
3. The token is the create_revision of the owner's key: each owner's is higher than those of all before it.
4. A lock is lost with its lease. Its holder may notice late (leases.py), so a write that must not happen then takes
   `guard` among its comparisons: the store refuses it once the lock has gone to another.
5. An election is a lock whose key has a value; its leader is the owner.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar

from kvstore.client import txn
from kvstore.client.leases import AsyncLease
from kvstore.client.results import RangePage, WriteResult
from kvstore.client.watching import AsyncWatch
from kvstore.errors import Compacted, LeaseLost
from kvstore.model.results import Record

T = TypeVar("T")
_PLACE = re.compile(rb"[0-9a-f]{16}")


class _Store(Protocol):
    async def put(
        self, key: bytes, value: bytes, *, if_absent: bool = ..., lease: int | None = ..., timeout_s: float | None = ...
    ) -> WriteResult: ...

    async def range(
        self, *, prefix: bytes | None = ..., cursor: str | None = ..., timeout_s: float | None = ...
    ) -> RangePage: ...

    async def txn(
        self, compare: list[txn.Comparison] = ..., then: list[txn.Step] = ..., *, timeout_s: float | None = ...
    ) -> txn.TxnResult: ...

    def watch(self, key: bytes | None = ..., *, prefix: bytes | None = ..., start: int | None = ...) -> AsyncWatch: ...

    def lease(self, ttl_seconds: float = ..., *, timeout_s: float | None = ...) -> AsyncLease: ...


class Leader(NamedTuple):
    """Who leads: the value that it campaigned with, its key, and its fencing token."""

    value: bytes
    key: bytes
    token: int


class AsyncLock:
    """Made by `AsyncClient.lock`; an async context manager, to be held once. If it was lost while its block ran, the
    end of the block raises LeaseLost, unless something else was raised.
    """

    def __init__(self, client: _Store, name: str | bytes, value: bytes, ttl_seconds: float, timeout_s: float) -> None:
        self.name = name.encode() if isinstance(name, str) else name
        self.key = b""
        self.token = 0
        self._client = client
        self._value = value
        self._timeout_s = timeout_s
        self._lease = client.lease(ttl_seconds, timeout_s=timeout_s)

    @property
    def guard(self) -> txn.Comparison:
        """Holds as long as the lock does: a comparison for the transactions of its holder."""
        self._held()
        return txn.create_revision(self.key) == self.token

    @property
    def lost(self) -> bool:
        """Whether it must be taken to be lost."""
        return self._lease.lost

    async def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Waits until it is lost, or for `timeout_s`; whether it is."""
        return await self._lease.wait_lost(timeout_s)

    def check(self) -> None:
        """Raises LeaseLost if it is lost."""
        self._lease.check()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()
        if error is None:
            self.check()

    async def acquire(self, wait_s: float | None = None) -> None:
        """Waits for its turn, for ever or for `wait_s`. Raises TimeoutError when that is over, LeaseLost when the lease
        was lost meanwhile.
        """
        try:
            async with asyncio.timeout(wait_s):
                await self._lease.begin()
                self.key = self.name + b"/%016x" % self._lease.id
                put = await self._client.put(
                    self.key, self._value, if_absent=True, lease=self._lease.id, timeout_s=self._timeout_s
                )
                await self._unless_lost(self._turn(put.revision or 0))
                self.token = put.revision or 0
        except BaseException:
            await self._lease.end()
            raise

    async def release(self) -> None:
        """Lets the next one in. Harmless when repeated."""
        await self._lease.end()

    def _held(self) -> None:
        if not self.token:
            raise RuntimeError("the lock has not been acquired")

    async def _turn(self, mine: int) -> None:
        """Returns once no key is before ours (rules 1 and 2)."""
        while True:
            revision, waiting = await places(self._client, self.name, self._timeout_s)
            before = [(record.create_revision, key) for key, record in waiting if record.create_revision < mine]
            if self.key not in [key for key, _ in waiting]:
                raise LeaseLost(f"{self.key!r} was deleted while it waited for the lock")
            if not before:
                return
            try:
                async with self._client.watch(max(before)[1], start=revision + 1) as watch:
                    async for event in watch:
                        if event.kind == "delete":
                            break
            except Compacted:
                continue

    async def _unless_lost(self, work: Awaitable[T]) -> T:
        """What `work` gives; raises LeaseLost as soon as the lease is."""
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self._lease.wait_lost())
        try:
            await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            for each in (task, lost):
                each.cancel()
            await asyncio.gather(task, lost, return_exceptions=True)


class AsyncElection:
    """Made by `AsyncClient.elect`. As an async context manager it campaigns, and resigns at the end; who only wants to
    know the leader calls `leader` or `observe`.
    """

    def __init__(self, client: _Store, name: str | bytes, value: bytes, ttl_seconds: float, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._lock = AsyncLock(client, name, value, ttl_seconds, timeout_s)

    @property
    def key(self) -> bytes:
        """The key of this candidate."""
        return self._lock.key

    @property
    def token(self) -> int:
        """The fencing token: higher than those of all leaders before."""
        return self._lock.token

    @property
    def guard(self) -> txn.Comparison:
        """Holds as long as this candidate leads: a comparison for its transactions."""
        return self._lock.guard

    @property
    def lost(self) -> bool:
        """Whether leadership must be taken to be lost."""
        return self._lock.lost

    async def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Waits until it is lost, or for `timeout_s`; whether it is."""
        return await self._lock.wait_lost(timeout_s)

    def check(self) -> None:
        """Raises LeaseLost if leadership is lost."""
        self._lock.check()

    async def __aenter__(self) -> Self:
        await self.campaign()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lock.__aexit__(kind, error, trace)

    async def campaign(self, wait_s: float | None = None) -> None:
        """Returns once this candidate leads; see AsyncLock.acquire."""
        await self._lock.acquire(wait_s)

    async def proclaim(self, value: bytes) -> None:
        """Changes the leader's value. Raises LeaseLost if it does not lead any more."""
        step = txn.Put(self.key, value, keep_lease=True)
        told = await self._client.txn([self.guard], [step], timeout_s=self._timeout_s)
        if not told.succeeded:
            raise LeaseLost(f"{self.key!r} does not lead any more")

    async def resign(self) -> None:
        """Lets the next candidate lead. Harmless when repeated."""
        await self._lock.release()

    async def leader(self) -> Leader | None:
        """Who leads now, None for nobody."""
        return _leader((await places(self._client, self._lock.name, self._timeout_s))[1])

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Who leads, now and whenever that changes, or its value does."""
        told: list[Leader | None] = []
        while True:
            revision, waiting = await places(self._client, self._lock.name, self._timeout_s)
            candidates = dict(waiting)
            try:
                async with self._client.watch(prefix=self._lock.name + b"/", start=revision + 1) as watch:
                    while True:
                        leader = _leader(list(candidates.items()))
                        if told != [leader]:
                            told = [leader]
                            yield leader
                        event = await anext(watch)
                        if not _place(self._lock.name, event.key):
                            continue
                        if event.record is None:
                            candidates.pop(event.key, None)
                        else:
                            candidates[event.key] = event.record
            except Compacted:
                continue


async def places(client: _Store, name: bytes, timeout_s: float) -> tuple[int, list[tuple[bytes, Record]]]:
    """A revision, and who waits for `name` then."""
    found: list[tuple[bytes, Record]] = []
    cursor: str | None = None
    while True:
        page = await client.range(prefix=name + b"/", cursor=cursor, timeout_s=timeout_s)
        found += [item for item in page.records if _place(name, item[0])]
        cursor = page.cursor
        if cursor is None:
            return page.revision, found


def _place(name: bytes, key: bytes) -> bool:
    return _PLACE.fullmatch(key[len(name) + 1 :]) is not None


def _leader(waiting: list[tuple[bytes, Record]]) -> Leader | None:
    if not waiting:
        return None
    key, record = min(waiting, key=lambda item: item[1].create_revision)
    return Leader(record.value, key, record.create_revision)

"""The things that a blocking Client hands out, and that live for a while: watches, leases, locks, elections. Each has
the methods of its asynchronous sister, and waits.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from kvstore.client import txn
from kvstore.client.leases import AsyncLease
from kvstore.client.locks import AsyncElection, AsyncLock, Leader
from kvstore.client.watching import AsyncWatch, WatchEvent

T = TypeVar("T")


class Runner(Protocol):
    """Where coroutines are run."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives or raises."""
        ...


class Watch:
    """See AsyncWatch: an iterator, and a context manager."""

    def __init__(self, runner: Runner, watch: AsyncWatch) -> None:
        self._runner = runner
        self._watch = watch

    @property
    def revision(self) -> int | None:
        """Everything up to it has been handed on; None until a node has said where the watch begins."""
        return self._watch.revision

    def __enter__(self) -> Self:
        self._runner.run(self._watch.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, from any thread: who waits for the next event then sees it end. Harmless when repeated."""
        self._watch.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        # StopAsyncIteration does not pass through a future.
        found = self._runner.run(_next(self._watch))
        if found is None:
            raise StopIteration
        return found


class Lease:
    """See AsyncLease."""

    def __init__(self, runner: Runner, lease: AsyncLease) -> None:
        self._runner = runner
        self._lease = lease

    @property
    def id(self) -> int:
        """What keys are attached with. 0 before it is granted."""
        return self._lease.id

    @property
    def ttl_seconds(self) -> float:
        """Its time to live."""
        return self._lease.ttl_seconds

    @property
    def lost(self) -> bool:
        """Whether it must be taken to be over."""
        return self._lease.lost

    def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Waits until it is lost, or for `timeout_s`; whether it is."""
        return self._runner.run(self._lease.wait_lost(timeout_s))

    def check(self) -> None:
        """Raises LeaseLost if it is lost."""
        self._lease.check()

    def begin(self) -> None:
        """Has it granted, and begins to keep it alive."""
        self._runner.run(self._lease.begin())

    def end(self) -> None:
        """Revokes it; if that cannot be done soon, it expires by itself. Harmless when repeated."""
        self._runner.run(self._lease.end())

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._lease.__aexit__(kind, error, trace))


class _Held:
    """What a lock and an election have in common."""

    def __init__(self, runner: Runner, held: AsyncLock | AsyncElection) -> None:
        self._runner = runner
        self._held = held

    @property
    def key(self) -> bytes:
        """The key of this holder."""
        return self._held.key

    @property
    def token(self) -> int:
        """The fencing token: higher than those of all holders before."""
        return self._held.token

    @property
    def guard(self) -> txn.Comparison:
        """Holds as long as the lock does: a comparison for the transactions of its holder."""
        return self._held.guard

    @property
    def lost(self) -> bool:
        """Whether it must be taken to be lost."""
        return self._held.lost

    def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Waits until it is lost, or for `timeout_s`; whether it is."""
        return self._runner.run(self._held.wait_lost(timeout_s))

    def check(self) -> None:
        """Raises LeaseLost if it is lost."""
        self._held.check()

    def __enter__(self) -> Self:
        self._runner.run(self._held.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._held.__aexit__(kind, error, trace))


class Lock(_Held):
    """See AsyncLock."""

    def __init__(self, runner: Runner, lock: AsyncLock) -> None:
        super().__init__(runner, lock)
        self._lock = lock
        self.name = lock.name

    def acquire(self, wait_s: float | None = None) -> None:
        """See AsyncLock.acquire."""
        self._runner.run(self._lock.acquire(wait_s))

    def release(self) -> None:
        """Lets the next one in. Harmless when repeated."""
        self._runner.run(self._lock.release())


class Election(_Held):
    """See AsyncElection."""

    def __init__(self, runner: Runner, election: AsyncElection) -> None:
        super().__init__(runner, election)
        self._election = election

    def campaign(self, wait_s: float | None = None) -> None:
        """Returns once this candidate leads; see AsyncLock.acquire."""
        self._runner.run(self._election.campaign(wait_s))

    def proclaim(self, value: bytes) -> None:
        """Changes the leader's value. Raises LeaseLost if it does not lead any more."""
        self._runner.run(self._election.proclaim(value))

    def resign(self) -> None:
        """Lets the next candidate lead. Harmless when repeated."""
        self._runner.run(self._election.resign())

    def leader(self) -> Leader | None:
        """Who leads now, None for nobody."""
        return self._runner.run(self._election.leader())

    def observe(self) -> Iterator[Leader | None]:
        """Who leads, now and whenever that changes, or its value does."""
        return each(self._runner, self._election.observe())


def each(runner: Runner, items: AsyncIterator[T]) -> Iterator[T]:
    """One after the other, each fetched when it is asked for. An iterator left early is ended with the client."""

    async def following() -> tuple[T] | None:
        async for item in items:
            return (item,)
        return None

    while (found := runner.run(following())) is not None:
        yield found[0]


async def _next(watch: AsyncWatch) -> WatchEvent | None:
    try:
        return await anext(watch)
    except StopAsyncIteration:
        return None

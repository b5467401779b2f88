"""Operations that travel together, each with the rules of a call of its own (retry.py, sessions.py).

1. What waits for different things goes in different requests: reads, writes of the session, writes under keys, and
   each level for itself. So none holds up another, and all of one request are sent again, or not, for one reason.
2. Every operation has a fate of its own, judged by the rules of retry.py. What is decided is taken out; the next
   attempt, at the next endpoint, carries what is still open, each under the name that it had. If a whole attempt is
   lost, each operation in it is where a single call would be that lost its attempt.
3. A write of the session holds its sequence until its fate is decided, not until that of the whole batch is. All
   sequences of one request are taken at once.
4. A read whose value had no room in the common answer is made alone.
5. Automatic batching: calls that are begun in one turn of the loop travel together, if they also have the same
   timeout. So no call waits longer than it may, nor is given up sooner. A caller that is cancelled leaves its operation
   with the others: once sent, it may take effect.
"""

import asyncio
import copy
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from kvstore import limits
from kvstore.client import batches
from kvstore.client.batches import BatchOp, BatchResult, Get, Kind
from kvstore.client.retry import Failover, Journey, Pacing, problem
from kvstore.client.sessions import Session, Sessions
from kvstore.client.wire import AttemptFailed
from kvstore.errors import (
    ConnectionLost,
    IdempotencyConflict,
    IdempotencyExpired,
    InternalError,
    KvError,
    LocalError,
    TooLarge,
)

_OPEN: Final = object()
_Calls = list[tuple[BatchOp, asyncio.Future[BatchResult]]]


class _Item:
    """One operation on its way."""

    __slots__ = ("journey", "op", "result", "sequence", "shape")

    def __init__(self, op: BatchOp, key: str | None) -> None:
        self.op = op
        self.shape = batches.wire_op(op)
        if key is not None:
            self.shape["idempotency_key"] = key
        self.sequence: int | None = None
        self.journey: Journey | None = None
        self.result: Any = _OPEN


class Batches:
    """Sends batches. `alone` makes one read by itself, within the seconds given."""

    def __init__(
        self,
        failover: Failover,
        sessions: Sessions | None,
        pacing: Pacing,
        alone: Callable[[Get, float], Awaitable[BatchResult]],
    ) -> None:
        self._failover = failover
        self._sessions = sessions
        self._pacing = pacing
        self._alone = alone

    async def send(self, ops: Sequence[BatchOp], timeout_s: float) -> list[BatchResult]:
        """The result of each of `ops`, in their order."""
        deadline = self._pacing.now() + timeout_s
        results: list[Any] = [batches.refusal_of(op) for op in ops]
        sorted_out: dict[Kind, list[int]] = {}
        for place, op in enumerate(ops):
            if results[place] is None:
                sorted_out.setdefault(batches.kind_of(op, sessions=self._sessions is not None), []).append(place)
        parts = [(kind, part) for kind, places in sorted_out.items() for part in _parts(ops, places)]
        told = await _together([self._part(kind, [ops[place] for place in part], deadline) for kind, part in parts])
        for (_, part), found in zip(parts, told, strict=True):
            for place, result in zip(part, found, strict=True):
                results[place] = result
        return results

    async def _part(self, kind: Kind, ops: list[BatchOp], deadline: float) -> list[BatchResult]:
        items = [_Item(op, None if kind.in_session else _key_of(op)) for op in ops]
        if not kind.in_session:
            await self._attempts(kind, items, None, deadline)
        else:
            await self._in_session(kind, items, deadline)
            # Rule 5 of sessions: nothing of these is anywhere.
            again = [item for item in items if _expired_unsent(item.result)]
            if again:
                for item in again:
                    item.journey, item.result = None, _OPEN
                await self._in_session(kind, again, deadline)
        if not kind.write:
            for item in items:
                if isinstance(item.result, TooLarge) and isinstance(item.op, Get):
                    item.result = await self._alone(item.op, deadline - self._pacing.now())
        return [item.result for item in items]

    async def _in_session(self, kind: Kind, items: list[_Item], deadline: float) -> None:
        assert self._sessions is not None
        try:
            session, first = await self._sessions.take(deadline, len(items))
        except (KvError, LocalError) as unsent:
            for item in items:
                item.result = copy.copy(unsent)
            return
        for number, item in enumerate(items):
            item.sequence = item.shape["sequence"] = first + number
        try:
            await self._attempts(kind, items, session, deadline)
        finally:
            for item in items:
                _retire(item, session)
        if any(isinstance(item.result, (IdempotencyExpired, IdempotencyConflict)) for item in items):
            self._sessions.leave(session)

    async def _attempts(self, kind: Kind, items: list[_Item], session: Session | None, deadline: float) -> None:
        """Until every one of `items` has its result."""
        failover, count = self._failover, len(self._failover.endpoints)
        index, attempts = failover.first(), 0
        left = items
        while True:
            remaining = deadline - self._pacing.now()
            if attempts and remaining < limits.RETRY_REMAINING_S_MIN:
                for item in left:
                    assert item.journey is not None
                    item.result = item.journey.verdict()
                return
            failover.retries += attempts > 0
            told = await self._attempt(kind, left, session, index, remaining, attempts // count)
            failures: list[KvError | AttemptFailed] = []
            for item, result in zip(left, told, strict=True):
                if isinstance(result, (KvError, AttemptFailed)):
                    self._note(kind, item, failover.endpoints[index], result)
                    if item.result is _OPEN:
                        failures.append(result)
                else:
                    item.result = result
                if session is not None and item.result is not _OPEN:
                    _retire(item, session)
            attempts += 1
            left = [item for item in left if item.result is _OPEN]
            if not left:
                failover.well(index)
                return
            worst = max(failures, key=lambda failure: (isinstance(failure, KvError) and failure.retry_after_s) or 0.0)
            failover.judge(index, worst)
            index = (index + 1) % count
            if attempts % count == 0:
                await failover.pause(attempts // count, worst, deadline)

    async def _attempt(
        self, kind: Kind, left: list[_Item], session: Session | None, index: int, remaining: float, rounds: int
    ) -> Sequence[BatchResult | AttemptFailed]:
        """What one attempt says of each; where it failed as a whole, the same of all."""
        failure: KvError | AttemptFailed
        try:
            request = batches.request(kind, [item.shape for item in left], session)
            reply = await self._failover.attempt(index, request, remaining, rounds)
            if reply.status < 400:
                return batches.parse_results(reply.body, [item.op for item in left], read=not kind.write)
            failure = problem(reply, read=not kind.write)
        except (AttemptFailed, InternalError) as failed:
            failure = failed
        if isinstance(failure, KvError):
            if not kind.write:
                failure.outcome = None
            # Each may be raised to another caller.
            return [copy.copy(failure) for _ in left]
        return [failure] * len(left)

    def _note(self, kind: Kind, item: _Item, endpoint: str, failure: KvError | AttemptFailed) -> None:
        if item.journey is None:
            item.journey = Journey(self._failover.endpoints, write=kind.write, named=kind.named)
        try:
            item.journey.note(endpoint, failure)
            if item.journey.settled(failure):
                item.result = item.journey.verdict()
        except (KvError, LocalError) as final:
            item.result = final


class Turns:
    """Puts calls together that are begun in one turn of the loop."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._waiting: dict[float, _Calls] = {}
        self._tasks: set[asyncio.Task[list[BatchResult]]] = set()

    async def call(self, op: BatchOp, timeout_s: float) -> Any:
        """The result of `op`; raises where it is an error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[BatchResult] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._go)
        self._waiting.setdefault(timeout_s, []).append((op, future))
        result = await future
        if isinstance(result, (KvError, LocalError)):
            raise result
        return result

    def _go(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for timeout_s, calls in waiting.items():
            # Each kind for itself: none waits for the end of another.
            kinds: dict[tuple[str, bool], _Calls] = {}
            for call in calls:
                if not call[1].done():
                    kinds.setdefault((call[0].level, isinstance(call[0], Get)), []).append(call)
            for together in kinds.values():
                self._begin(together, timeout_s)

    def _begin(self, calls: "_Calls", timeout_s: float) -> None:
        work = self._batches.send([op for op, _ in calls], timeout_s)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, calls))

    def _ended(self, calls: "_Calls", task: asyncio.Task[list[BatchResult]]) -> None:
        self._tasks.discard(task)
        failed = None if task.cancelled() else task.exception()
        for place, (_, future) in enumerate(calls):
            if future.done():
                continue
            if task.cancelled():
                future.set_result(ConnectionLost("the client was closed before the answer came"))
            elif failed is not None:
                future.set_exception(failed)
            else:
                future.set_result(task.result()[place])

    async def close(self) -> None:
        """End what is under way."""
        self._go()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _together(work: list[Any]) -> list[list[BatchResult]]:
    """The results of all; if this is cancelled, so are they."""
    if len(work) == 1:
        return [await work[0]]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]


def _parts(ops: Sequence[BatchOp], places: list[int]) -> Iterator[list[int]]:
    part: list[int] = []
    size = 0
    for place in places:
        op_size = batches.size_of(ops[place])
        if part and (size + op_size > limits.CLIENT_BATCH_BYTES_MAX or len(part) >= limits.CLIENT_BATCH_OPS_MAX):
            yield part
            part, size = [], 0
        part.append(place)
        size += op_size
    if part:
        yield part


def _key_of(op: BatchOp) -> str | None:
    if isinstance(op, Get):
        return None
    return secrets.token_hex(16) if op.idempotency_key is None and op.level == "one" else op.idempotency_key


def _expired_unsent(result: object) -> bool:
    return isinstance(result, IdempotencyExpired) and result.outcome == "not_applied"


def _retire(item: _Item, session: Session) -> None:
    if item.sequence is not None:
        session.retire(item.sequence)
        item.sequence = None

"""Reads at level QUORUM: linearizable, from any node, by ReadIndex (rule R11). Nothing is written to the log.

On a follower, all reads that wait share one question to the leader; a read never joins a question that was already
sent.
"""

import asyncio
import heapq
from functools import partial
from typing import Any, Final

from kvstore.errors import DeadlineExceeded, KvError, NoLeader
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.site import Site

CALL_READ_INDEX: Final = "read_index"
ASK_AGAIN_S: Final = 1.0


class AppliedWaits:
    """Futures that wait until the state machine has applied an index, or reached a revision."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._forgotten = 0

    def add(self, position: int, future: "asyncio.Future[None]") -> None:
        """Finish `future` once `position` is reached."""
        self._count += 1
        heapq.heappush(self._heap, (position, self._count, future))

    async def wait(self, site: Site, position: int, at: float) -> None:
        """Return once `position` is reached. Raises Expired at loop time `at`."""
        future: asyncio.Future[None] = site.loop.create_future()
        self.add(position, future)
        try:
            await site.deadlines.wait(future, at)
        except Expired:
            self.forget()
            raise

    def __len__(self) -> int:
        return len(self._heap)

    def forget(self) -> None:
        """Somebody gave up waiting. Once such are half of all, they are cleared away, so that they never pile up."""
        self._forgotten += 1
        if 2 * self._forgotten > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].done()]
            heapq.heapify(self._heap)
            self._forgotten = 0

    def reached(self, position: int) -> None:
        """Everything up to `position` is there."""
        while self._heap and self._heap[0][0] <= position:
            future = heapq.heappop(self._heap)[2]
            if not future.done():
                future.set_result(None)


class QuorumReads:
    """Finds the index that a linearizable read must wait for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._engine = site.engine
        self._waiting: list[asyncio.Future[int]] = []
        self._asking: asyncio.Task[None] | None = None
        self.questions_total = 0
        self.forwarded_total = 0
        site.calls.serve(CALL_READ_INDEX, self._serve)

    async def index(self, at: float) -> int:
        """The read index: every write acknowledged before this call lies at or below it. Raises KvError."""
        while True:
            future: asyncio.Future[int] = self._site.loop.create_future()
            if self._engine.leads:
                self._engine.read_index(partial(_finish, future))
            elif self._engine.leader not in (None, self._engine.name):
                self._waiting.append(future)
                if self._asking is None:
                    self._asking = self._site.loop.create_task(self._ask())
            else:
                await self._site.leaders.wait(at, read=True)
                continue
            try:
                index: int = await self._site.deadlines.wait(future, at)
            except Expired:
                raise DeadlineExceeded("no majority confirmed the leader in time", read=True) from None
            except (NoLeader, NotSent, PeerGone):
                # A read changes nothing, so it is simply asked again once things have moved.
                if self._site.loop.time() >= at:
                    raise DeadlineExceeded("no leader confirmed the read in time", read=True) from None
                if self._engine.leader is not None and not self._engine.leads:
                    await self._pause(at)
            else:
                return index

    async def _pause(self, at: float) -> None:
        """Wait for a change of leadership, or a moment."""
        try:
            await self._site.leaders.wait_change(min(at, self._site.in_s(0.05)), read=True)
        except KvError:
            return

    async def _ask(self) -> None:
        """Ask the leader, once for all that wait at that moment, until nobody waits."""
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                self.questions_total += 1
                self.forwarded_total += len(asked)
                leader = self._engine.leader
                index = 0
                failure: KvError | NotSent | PeerGone | None = None
                try:
                    if leader is None or leader == self._engine.name:
                        raise NoLeader("the leader changed", read=True)
                    at = self._site.in_s(ASK_AGAIN_S)
                    (index,) = await self._site.calls.call(leader, CALL_READ_INDEX, [], at, while_leading=True)
                except Expired:
                    failure = NoLeader(f"the leader {leader} did not answer", read=True)
                except (KvError, NotSent, PeerGone) as error:
                    failure = (
                        error if isinstance(error, NoLeader | NotSent | PeerGone) else NoLeader(str(error), read=True)
                    )
                for future in asked:
                    _finish(future, index, failure)
        finally:
            self._asking = None

    async def _serve(self, _peer: str, _body: list[Any]) -> list[Any]:
        future: asyncio.Future[int] = self._site.loop.create_future()
        self._engine.read_index(partial(_finish, future))
        try:
            index = await self._site.deadlines.wait(future, self._site.in_s(ASK_AGAIN_S))
        except Expired:
            raise NoLeader("no majority confirmed the leader in time", read=True) from None
        self._engine.tell_commit()
        return [index]


def _finish(future: "asyncio.Future[int]", index: int, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(index)
    else:
        future.set_exception(error)

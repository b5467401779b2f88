"""Leases: kept alive by their clients, expired by the leader.

How long ago a lease was kept alive only the leader knows, in its memory: keepalives cost no log entry. So

1. A keepalive is answered after a leadership round (rule R11), and only by a leader that leads still: whoever leads
   later starts after it.
2. A new leader gives every lease its whole time to live anew, once it has applied an entry of its term. So no lease
   ends early because a leader did.
3. A lease ends by a command that names the leader's term, and is void in an entry of another one. While that command is
   under way, a keepalive waits for what becomes of it.
4. A leader that notices that it stood still (a timer that comes late) starts anew as in 2: nobody could keep anything
   alive in that time.

One timer serves all leases. A lease that is kept alive moves only in a dict; in the heap it is looked at again when its
old time has come.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from kvstore import limits
from kvstore.consensus.engine import Engine
from kvstore.errors import BadRequest, DeadlineExceeded, KvError, LeaseNotFound, NoLeader
from kvstore.model import commands
from kvstore.model.commands import Once
from kvstore.model.levels import Level
from kvstore.model.results import APPLIED, LeaseAnswer
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.proposals import NotProposed, Proposals
from kvstore.node.site import Site
from kvstore.node.transactions import Write
from kvstore.state.machine import Machine

log = structlog.get_logger()

CALL_KEEP_ALIVE: Final = "keep_alive"

# Timers are never exact; what is later than this was no timer's fault.
_LATE_S: Final = 0.5
_AGAIN_S: Final = 1.0


class LeaseKeeper:
    """See kvstore.http.store.LeaseStore; and on the leader, the one who lets leases end."""

    def __init__(
        self,
        site: Site,
        proposals: Proposals,
        write: Write,
        machine: Callable[[], Machine],
        catch_up: Callable[[float], Awaitable[None]],
    ) -> None:
        self._site = site
        self._engine: Engine = site.engine
        self._proposals = proposals
        self._write = write
        self._machine = machine
        self._catch_up = catch_up
        # Of the leader only.
        self._timers: _Timers | None = None
        self._starting: asyncio.Task[None] | None = None
        self._ending: dict[int, asyncio.Future[Any]] = {}
        self.expired_total = 0
        site.calls.serve(CALL_KEEP_ALIVE, self._serve)

    # -- clients

    async def grant(self, ttl_ms: int, *, once: Once | None, timeout_s: float) -> LeaseAnswer:
        """A new lease, whose time runs from its grant."""
        written = await self._write(commands.grant(ttl_ms, once), Level.QUORUM, timeout_s)
        return LeaseAnswer(written.result.revision, ttl_ms, ttl_ms, ())

    async def revoke(self, lease: int, *, once: Once | None, timeout_s: float) -> int:
        """End a lease now; how many keys went with it."""
        return (await self._write(commands.revoke(lease, once), Level.QUORUM, timeout_s)).result.version

    async def leases(self, *, timeout_s: float) -> list[int]:
        """The ids of all leases, rising."""
        await self._catch_up(self._site.in_s(timeout_s))
        return list(self._machine().leases)

    async def lease(self, lease: int, *, timeout_s: float) -> LeaseAnswer:
        """One lease: what is left of its time, and the keys that are attached to it."""
        at = self._site.in_s(timeout_s)
        ((ttl_ms, left_ms),) = await self._ask([lease], at, renew=False)
        if not ttl_ms:
            raise LeaseNotFound("there is no such lease", read=True)
        await self._catch_up(at)
        return LeaseAnswer(lease, ttl_ms, left_ms, tuple(self._machine().leases.keys(lease)))

    async def keep_alive(self, leases: Sequence[int], *, timeout_s: float) -> list[int]:
        """Give each its whole time to live again. Returns that in milliseconds, 0 for a lease that is not there."""
        return [ttl_ms for ttl_ms, _ in await self._ask(leases, self._site.in_s(timeout_s), renew=True)]

    async def _ask(self, leases: Sequence[int], at: float, *, renew: bool) -> list[tuple[int, int]]:
        """(time to live, what is left of it) of each in milliseconds, from the leader. Asking twice does no harm."""
        while True:
            leader = self._engine.leader
            try:
                if self._engine.leads:
                    return await self._here(leases, at, renew=renew)
                if leader is not None and leader != self._engine.name:
                    return await self._there(leader, leases, at, renew=renew)
            except (NoLeader, NotSent, PeerGone):
                if self._site.loop.time() >= at:
                    raise DeadlineExceeded("no leader answered in time") from None
                if self._engine.leader == leader:
                    with suppress(KvError):  # a moment has passed, and nothing has changed
                        await self._site.leaders.wait_change(min(at, self._site.in_s(0.05)), read=False)
                continue
            await self._site.leaders.wait(at, read=False)

    async def _there(self, leader: str, leases: Sequence[int], at: float, *, renew: bool) -> list[tuple[int, int]]:
        remaining_ms = max(int((at - self._site.loop.time()) * 1000), 1)
        try:
            body = [list(leases), renew, remaining_ms]
            answer = await self._site.calls.call(leader, CALL_KEEP_ALIVE, body, at, while_leading=True)
        except Expired:
            raise DeadlineExceeded(f"the leader {leader} did not answer in time") from None
        told = [(ttl, left) for ttl, left in answer if type(ttl) is type(left) is int]
        if len(told) != len(leases):
            raise DeadlineExceeded(f"the leader {leader} answered in a form that is not known here")
        return told

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        match body:
            case [[*leases], bool(renew), int(timeout_ms)] if (
                len(leases) <= limits.LEASES_KEPT_ALIVE_MAX
                and all(type(lease) is int for lease in leases)
                and 0 < timeout_ms <= limits.TIMEOUT_MS_MAX
            ):
                at = self._site.in_s(timeout_ms / 1000)
                return [list(told) for told in await self._here(leases, at, renew=renew)]
        raise BadRequest("a forwarded keepalive is malformed")

    # -- the leader

    async def _here(self, leases: Sequence[int], at: float, *, renew: bool) -> list[tuple[int, int]]:
        term = self._engine.status().term
        await self._catch_up(at)
        while under_way := [self._ending[lease] for lease in leases if lease in self._ending]:
            try:
                await self._site.deadlines.wait(asyncio.shield(under_way[0]), at)
            except Expired:
                raise DeadlineExceeded("the lease was about to expire when it was kept alive; it may have") from None
            except (KvError, NotProposed):
                pass
        timers = self._timers
        if timers is None or self._engine.status().term != term or not self._engine.leads:
            raise NoLeader("this node does not lead, or has only begun to")
        now = self._site.loop.time()
        there = self._machine().leases
        told = []
        for lease in leases:
            ttl_ms = there.ttl_ms(lease) or 0
            if ttl_ms and renew:
                timers.renew(lease, now + ttl_ms / 1000)
            told.append((ttl_ms, int(timers.left_s(lease) * 1000) if ttl_ms else 0))
        return told

    def leadership_changed(self) -> None:
        """Rule 2. From inside a step: nothing is asked of the engine here."""
        if self._timers is not None:
            self._timers.close()
            self._timers = None
        if self._engine.leads and self._starting is None:
            self._starting = self._site.loop.create_task(self._start())

    async def _start(self) -> None:
        try:
            while self._engine.leads and self._timers is None:
                term = self._engine.status().term
                try:
                    await self._catch_up(self._site.in_s(_AGAIN_S))
                except KvError:
                    continue
                if self._engine.leads and self._engine.status().term == term:
                    self._timers = _Timers(self._site.loop, self._machine, self._due)
                    self._timers.granted()
        finally:
            self._starting = None

    def applied(self) -> None:
        """New leases begin to run."""
        if self._timers is not None:
            self._timers.granted()

    def _due(self, leases: list[int]) -> None:
        """Rule 3. A command of bounded length for each."""
        term = self._engine.status().term
        there = self._machine().leases
        some: list[int] = []
        keys = 0
        for lease in leases:
            some.append(lease)
            keys += there.count(lease)
            if len(some) == limits.LEASES_EXPIRED_AT_ONCE_MAX or keys > limits.LEASE_KEYS_EXPIRED_AT_ONCE_MAX:
                self._propose(term, some)
                some, keys = [], 0
        if some:
            self._propose(term, some)

    def _propose(self, term: int, leases: list[int]) -> None:
        future = self._proposals.add(commands.expire(term, leases))
        for lease in leases:
            self._ending[lease] = future

        def done(ended: "asyncio.Future[Any]") -> None:
            for lease in leases:
                self._ending.pop(lease, None)
            failed = ended.cancelled() or ended.exception() is not None or ended.result().result.status != APPLIED
            if not failed:
                self.expired_total += len(leases)
                log.info("leases_expired", count=len(leases))
            elif self._timers is not None:
                # Not now: nothing is lost if a lease lives longer.
                for lease in leases:
                    self._timers.begin(lease, self._site.loop.time() + _AGAIN_S)

        future.add_done_callback(done)

    def close(self) -> None:
        """Let nothing end any more."""
        if self._timers is not None:
            self._timers.close()
            self._timers = None
        if self._starting is not None:
            self._starting.cancel()


class _Timers:
    """When each lease ends, as one leader has it, for one term."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, machine: Callable[[], Machine], due: Callable[[list[int]], None]
    ) -> None:
        self._loop = loop
        self._machine = machine
        self._due = due
        self._ends: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        self._seen = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def granted(self) -> None:
        """Leases that were not there before begin to run."""
        there = self._machine().leases
        if there.next_id <= self._seen + 1:
            return
        new = there if not self._seen else range(self._seen + 1, there.next_id)
        for lease in new:
            ttl_ms = there.ttl_ms(lease)
            if ttl_ms is not None:
                self.begin(lease, self._loop.time() + ttl_ms / 1000)
        self._seen = there.next_id - 1

    def begin(self, lease: int, at: float) -> None:
        """`lease`, which is not in the heap, ends at loop time `at`."""
        self.renew(lease, at)
        heapq.heappush(self._heap, (at, lease))
        self._arm()

    def renew(self, lease: int, at: float) -> None:
        """`lease`, which is in the heap, ends at loop time `at` now."""
        self._ends[lease] = at

    def left_s(self, lease: int) -> float:
        """How long `lease` lasts from now."""
        return max(self._ends[lease] - self._loop.time(), 0.0)

    def _arm(self) -> None:
        if not self._heap:
            return
        at = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - self._loop.time(), 0.0), self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        self._timer = None
        if now - self._timer_at > _LATE_S:
            self._begin_anew()
            return
        there = self._machine().leases
        due: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            _, lease = heapq.heappop(self._heap)
            if lease not in there:
                del self._ends[lease]
            elif self._ends[lease] > now:
                heapq.heappush(self._heap, (self._ends[lease], lease))
            else:
                due.append(lease)
        self._arm()
        if due:
            self._due(due)

    def _begin_anew(self) -> None:
        """Rule 4: how long this process stood still is not known."""
        self._heap.clear()
        self._ends.clear()
        self._seen = 0
        self.granted()

    def close(self) -> None:
        """No more timers."""
        if self._timer is not None:
            self._timer.cancel()

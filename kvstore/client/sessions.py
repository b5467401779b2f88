"""The client's half of replicated sessions: every write gets a sequence, so that it can be sent again without harm.

The rules; those of the other half are in kvstore/state/sessions.py:

1. A session is opened with the first write that needs one. Writes that come meanwhile wait for the same opening.
2. A write gets its sequence when it is sent, and keeps it for all its attempts, which say SESSION/SEQUENCE/FLOOR.
3. The floor is the lowest sequence whose call has not ended. A call ends with its answer, or when its caller is told
   that the outcome is unknown: no attempt of it is made after that, so the floor may move past it. An attempt that
   arrives later still, behind the floor, is not carried out.
4. No sequence is CLIENT_SESSION_WRITES_MAX or more above the floor: that is how many answers the cluster keeps. Who
   comes then waits for a turn, in the order of coming.
5. A session that has expired is replaced by a new one for later writes; and for this write too, if it certainly was
   not carried out under the old one (a client that was idle for long).
"""

import asyncio
import copy
from collections import deque
from typing import Final

from kvstore import limits
from kvstore.client.results import parse_session
from kvstore.client.retry import Failover, Pacing
from kvstore.client.wire import Reply, Request
from kvstore.errors import (
    CannotConnect,
    IdempotencyConflict,
    IdempotencyExpired,
    InternalError,
    KvError,
    LocalError,
    Overloaded,
    Unavailable,
)

_PATH: Final = "/v1/sessions"
_HEADERS: Final = {"Accept": "application/json"}
_SLACK_S: Final = 0.001


class Session:
    """One session's sequences. Not for more than one event loop."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.floor = 1
        self._next = 1
        self._outstanding: set[int] = set()
        self._waiting: deque[tuple[int, asyncio.Future[int]]] = deque()

    @property
    def outstanding(self) -> int:
        """How many writes have a sequence and have not ended."""
        return len(self._outstanding)

    async def take(self, timeout_s: float, count: int = 1) -> int:
        """The first of the next `count` sequences, once there is room for all of them: who holds some and waits for
        more would never end. Raises Overloaded when there is none within `timeout_s`.
        """
        if not self._waiting and self._has_room(count):
            return self._give(count)
        if len(self._waiting) >= limits.CLIENT_WRITES_WAITING_MAX:
            raise Overloaded(f"{len(self._waiting):,} writes of this client wait for their turn already")
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            async with asyncio.timeout(timeout_s):
                return await turn
        except BaseException as ended:
            if turn.done() and not turn.cancelled():
                for sequence in range(turn.result(), turn.result() + count):
                    self.retire(sequence)
            elif (count, turn) in self._waiting:
                self._waiting.remove((count, turn))
                self._let_in()
            if isinstance(ended, TimeoutError):
                raise Overloaded(
                    f"{limits.CLIENT_SESSION_WRITES_MAX:,} writes of this client have not ended; "
                    "this one was not sent before its deadline"
                ) from None
            raise

    def retire(self, sequence: int) -> None:
        """The call that had `sequence` has ended."""
        self._outstanding.discard(sequence)
        while self.floor < self._next and self.floor not in self._outstanding:
            self.floor += 1
        self._let_in()

    def header(self, sequence: int) -> str:
        """The value of KV-Session for a write that is sent now."""
        return f"{self.number}/{sequence}/{self.floor}"

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            count, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self._give(count))

    def _has_room(self, count: int) -> bool:
        return self._next + count - 1 - self.floor < limits.CLIENT_SESSION_WRITES_MAX

    def _give(self, count: int) -> int:
        first = self._next
        self._next += count
        self._outstanding.update(range(first, self._next))
        return first


class Sessions:
    """Sends writes in the client's session, which it opens and replaces. `timeout_s`: how long opening may take."""

    def __init__(self, failover: Failover, pacing: Pacing, timeout_s: float) -> None:
        self._failover = failover
        self._pacing = pacing
        self._timeout_s = timeout_s
        self._session: Session | None = None
        self._opening: asyncio.Task[Session | KvError | LocalError] | None = None
        self._opening_ends = 0.0

    async def send(self, request: Request, timeout_s: float) -> Reply:
        """As Failover.send, with a sequence of the session."""
        deadline = self._pacing.now() + timeout_s
        try:
            return await self._send(request, deadline)
        except IdempotencyExpired as expired:
            if expired.outcome != "not_applied":
                raise
        # Rule 5; nothing of this write is anywhere.
        return await self._send(request, deadline)

    async def _send(self, request: Request, deadline: float) -> Reply:
        session, sequence = await self.take(deadline)
        try:
            headers = {**request.headers, "KV-Session": session.header(sequence)}
            named = request._replace(headers=headers, named=True)
            return await self._failover.send(named, deadline - self._pacing.now())
        except (IdempotencyExpired, IdempotencyConflict):
            self.leave(session)
            raise
        finally:
            session.retire(sequence)

    async def take(self, deadline: float, count: int = 1) -> tuple[Session, int]:
        """The session, opened if need be, and the first of `count` sequences of it, each to be retired."""
        session = self._session or await self._opened(deadline)
        return session, await session.take(deadline - self._pacing.now(), count)

    def leave(self, session: Session) -> None:
        """It is of no use any more: later writes get a new one (rule 5)."""
        if self._session is session:
            self._session = None

    async def _opened(self, deadline: float) -> Session:
        now = self._pacing.now()
        opening = self._opening
        if opening is None or opening.done():
            timeout_s = max(deadline - now, self._timeout_s)
            self._opening_ends = now + timeout_s
            opening = self._opening = asyncio.create_task(self._open(timeout_s))
        # An opening that ends in time by itself tells better why it failed.
        patience_s = None if self._opening_ends <= deadline + _SLACK_S else deadline - now
        try:
            async with asyncio.timeout(patience_s):
                # What others wait for too must not be cancelled with one of them.
                opened = await asyncio.shield(opening)
        except TimeoutError:
            raise Unavailable("no session was opened before the deadline; the write was not sent") from None
        if isinstance(opened, Session):
            return self._session or opened
        raise copy.copy(opened)

    async def _open(self, timeout_s: float) -> Session | KvError | LocalError:
        """A new session, or why the writes that wait for it cannot be sent: not applied, whatever happened here. An
        opening whose answer was lost leaves a session that nobody uses, until it expires; it may be repeated.
        """
        try:
            reply = await self._failover.send(
                Request("POST", _PATH, "", _HEADERS, None, write=True, named=True), timeout_s
            )
            self._session = Session(parse_session(reply.body))
            return self._session
        except asyncio.CancelledError:
            return Unavailable("the client was closed; the write was not sent")
        except CannotConnect as nobody:
            return nobody
        except (KvError, LocalError) as failed:
            if isinstance(failed, KvError) and (failed.outcome == "not_applied" or isinstance(failed, InternalError)):
                failed.outcome = "not_applied"
                return failed
            return Unavailable(f"no session could be opened ({failed}); the write was not sent")

    async def close(self) -> None:
        """Gives the session back, if that is quickly done and no call needs it; else it expires by itself."""
        session, self._session = self._session, None
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if session is None or session.outstanding:
            return
        request = Request("DELETE", f"{_PATH}/{session.number}", "", _HEADERS, None, write=True, named=True)
        try:
            await self._failover.send(request, limits.SESSION_CLOSE_S_MAX)
        except (KvError, LocalError):
            return

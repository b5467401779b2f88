"""Requests between the service layers of two nodes: a Call, answered by a Return with the same id."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from kvstore import limits
from kvstore.asking import ASKED, Asked, asked_of
from kvstore.consensus.messages import Call, Return, TracedCall
from kvstore.errors import InternalError, KvError, Overloaded, from_problem
from kvstore.node.deadlines import Deadlines
from kvstore.telemetry.slow import SlowRequests

log = structlog.get_logger()

Handler = Callable[[str, list[Any]], Awaitable[list[Any]]]


class NotSent(Exception):
    """There is no connection to the peer: it has not seen the call."""


class PeerGone(Exception):
    """The connection ended before the answer came: the peer may or may not have done what was asked."""


class LeadsNoMore(PeerGone):
    """Another node leads now: the answer may come late, or, if the peer has stopped without a word, never."""


class Calls:
    """Sends calls and answers those of peers. `send` returns False when there is no connection.

    `first_id` must differ from process to process: an answer to a call of this node's former process may still come.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        send: Callable[[str, Call | Return], bool],
        first_id: int,
        traces: Callable[[str], bool] = lambda _peer: False,
        slow: SlowRequests | None = None,
    ) -> None:
        """`traces`: whether that peer takes calls that say on whose behalf they are."""
        self._loop = loop
        self._deadlines = deadlines
        self._send = send
        self._traces = traces
        self._slow = slow or SlowRequests()
        self._next_id = first_id
        self._open: dict[int, tuple[str, asyncio.Future[list[Any]], bool]] = {}
        self._handlers: dict[str, tuple[Handler, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def served(self) -> int:
        """How many calls of peers are being answered."""
        return len(self._tasks)

    def serve(self, method: str, handler: Handler, *, served_max: int = limits.CALLS_SERVED_MAX) -> None:
        """Let `handler(peer, body)` answer calls of `method`; it validates the body itself. While `served_max` calls of
        all kinds are being answered, further ones of this kind are refused.
        """
        self._handlers[method] = handler, served_max

    async def call(
        self,
        peer: str,
        method: str,
        body: list[Any],
        at: float,
        *,
        while_leading: bool = False,
        asked: Asked | None = None,
    ) -> list[Any]:
        """The peer's answer. Raises NotSent, PeerGone, deadlines.Expired, or the peer's KvError. `while_leading`: it is
        asked as the leader, and another one can be asked again; raises LeadsNoMore once there is one. `asked`: on whose
        behalf, if it is one request's.
        """
        self._next_id += 1
        number = self._next_id
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._open[number] = (peer, future, while_leading)
        message = Call(number, method, body)
        if asked is not None and self._traces(peer):
            message = TracedCall(number, method, body, *asked)
        try:
            if not self._send(peer, message):
                raise NotSent(peer)
            answer: list[Any] = await self._deadlines.wait(future, at)
            return answer
        finally:
            del self._open[number]

    def received(self, peer: str, message: Call | Return) -> None:
        """A message of a peer's service layer."""
        if isinstance(message, Call):
            _, served_max = self._handlers.get(message.method, (None, limits.CALLS_SERVED_MAX))
            if len(self._tasks) >= served_max:
                error = Overloaded("too many forwarded requests", retry_after_s=1.0)
                self._send(peer, Return(message.id, None, error.to_problem()))
                return
            task = self._loop.create_task(self._answer(peer, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        whom, future, _ = self._open.get(message.id, (None, None, False))
        if future is None or whom != peer or future.done():
            return  # answered too late, or by somebody else
        if message.error is not None:
            future.set_exception(from_problem(message.error))
        else:
            future.set_result(message.body or [])

    async def _answer(self, peer: str, message: Call) -> None:
        handler, _ = self._handlers.get(message.method, (None, 0))
        began = self._loop.time()
        asked = asked_of(message.request_id, message.traceparent) if isinstance(message, TracedCall) else None
        ASKED.set(asked and (asked.request_id, asked.traceparent))  # this task is the call's own
        told = {} if asked is None else asked.told()
        try:
            if handler is None:
                raise InternalError(f"this node does not know the call {message.method!r}")
            body = await handler(peer, message.body)
        except KvError as error:
            self._send(peer, Return(message.id, None, error.to_problem()))
        except Exception as error:
            log.exception("call_failed", method=message.method, peer=peer, **told)
            self._send(peer, Return(message.id, None, InternalError(f"{type(error).__name__}").to_problem()))
        else:
            self._send(peer, Return(message.id, body, None))
        if asked is not None and (took_s := self._loop.time() - began) > self._slow.threshold_s:
            self._slow.note("slow_call", took_s, method=message.method, of=peer, **told)

    def peer_gone(self, peer: str) -> None:
        """A connection from or to `peer` ended."""
        for whom, future, _ in list(self._open.values()):
            if whom == peer and not future.done():
                future.set_exception(PeerGone(peer))

    def leader_is(self, leader: str) -> None:
        """`leader` leads now, and nobody else."""
        for whom, future, while_leading in list(self._open.values()):
            if while_leading and whom != leader and not future.done():
                future.set_exception(LeadsNoMore(whom))

    def close(self) -> None:
        """Cancel what is being answered."""
        for task in self._tasks:
            task.cancel()

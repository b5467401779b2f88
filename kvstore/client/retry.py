"""When a request may be sent again, and where. No sockets here: attempts go through a Transport.

The rules:

1. What certainly did not take effect is tried at the next endpoint, within the deadline: no connection, or a problem
   that says `retry_safe`.
2. A read changes nothing, and a write with a name (a sequence of a session, an idempotency key) takes effect once,
   however often it arrives. Both are also tried again, at any endpoint, after a broken connection, a silence, and a
   problem whose outcome is unknown. A silent node (it may be paused) costs an attempt READ_ATTEMPT_S_MAX or
   WRITE_ATTEMPT_S_MAX, doubled each round, not the whole deadline. A single endpoint gets all of it.
3. A write without a name whose fate is unknown is never sent again. It raises ConnectionLost or DeadlineExceeded.
4. Once the fate of one attempt is unknown, only an answer about the write itself decides it: that it took effect, that
   its condition failed, that its key was absent, that its name belongs to another request. The cluster gives the same
   answer to every attempt. A refusal of a later attempt (no leader, overload, a bad request) says nothing about the
   earlier one: if nothing better comes before the deadline, the outcome is unknown.
5. "Expired" means: not carried out now, and what happened before is not known any more. It ends the search. If no
   earlier attempt's fate is unknown, nothing happened before, and the error says so: not applied.
6. One round visits every endpoint once, without a pause. A pause with jitter separates rounds.
7. Refusals that waiting will not change (nobody listens, no quorum, a member missing for ALL, storage full, a learner,
   a member of an older version) are believed once every endpoint gave nothing else for RETRY_SETTLED_ROUNDS_MAX
   rounds. An election is waited for, and so is everything while the fate of an attempt is unknown. Answers that no
   node gives are believed as soon.
8. An attempt that has less than RETRY_REMAINING_S_MIN left is not begun: it would turn "not applied" into "unknown".
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from kvstore import limits
from kvstore.client.choosing import Choice
from kvstore.client.results import decode_json
from kvstore.client.wire import AttemptFailed, Broken, NotSent, Reply, Request, Stream, Transport
from kvstore.errors import (
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    IdempotencyConflict,
    IdempotencyExpired,
    InternalError,
    KvError,
    LeaseNotFound,
    LocalError,
    MembersUnreachable,
    NoQuorum,
    NotAVoter,
    NotFound,
    Overloaded,
    PreconditionFailed,
    StorageFull,
    UpgradeIncomplete,
    from_problem,
)

_SETTLED: Final = (NotSent, NoQuorum, MembersUnreachable, StorageFull, NotAVoter, UpgradeIncomplete)
_FOREIGN: Final = (InternalError,)
# Answers of the state machine to a write: every attempt under the same name gets the same one.
_FATES: Final = (NotFound, LeaseNotFound, PreconditionFailed, IdempotencyConflict)


class Pacing(NamedTuple):
    """Where the loop takes its time from: monotonic seconds, a sleep, and uniform random numbers."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform


class Failover:
    """Sends requests over the endpoints, starting each where `choice` says."""

    def __init__(self, choice: Choice, transport: Transport, pacing: Pacing) -> None:
        self.endpoints = choice.endpoints
        self._choice = choice
        self._transport = transport
        self._pacing = pacing
        self.retries = 0

    async def send(self, request: Request, timeout_s: float) -> Reply:
        """The first answer that is no problem. Raises KvError, CannotConnect or ConnectionLost."""
        deadline = self._pacing.now() + timeout_s
        count = len(self.endpoints)
        journey = Journey(self.endpoints, write=request.write, named=request.named)
        index, attempts = self.first(), 0
        while True:
            remaining = deadline - self._pacing.now()
            if attempts and remaining < limits.RETRY_REMAINING_S_MIN:
                raise journey.verdict()
            self.retries += attempts > 0
            failure: KvError | AttemptFailed
            try:
                reply = await self.attempt(index, request, remaining, attempts // count)
                if reply.status < 400:
                    self.well(index)
                    return reply
                failure = problem(reply, read=not request.write)
            except AttemptFailed as failed:
                failure = failed
            self.judge(index, failure)
            journey.note(self.endpoints[index], failure)
            attempts += 1
            if journey.settled(failure):
                raise journey.verdict()
            index = (index + 1) % count
            if attempts % count == 0:
                await self.pause(attempts // count, failure, deadline)

    def first(self) -> int:
        """The endpoint that the next request begins at."""
        return self._choice.first(self._pacing.now())

    async def attempt(self, index: int, request: Request, remaining: float, rounds: int) -> Reply:
        idle = remaining
        if (request.named or not request.write) and len(self.endpoints) > 1:
            first = limits.WRITE_ATTEMPT_S_MAX if request.write else limits.READ_ATTEMPT_S_MAX
            idle = min(remaining, first * 2.0 ** min(rounds, 10))
        if request.timed:
            # The node is asked to give up a little earlier, because its answer says more than our own clock can.
            timeout_ms = max(1, min(int(idle * 900), limits.TIMEOUT_MS_MAX))
            request = request._replace(query=f"{request.query}&timeout_ms={timeout_ms}".lstrip("&"))
        self._choice.begun(index)
        try:
            return await self._transport.send(
                self.endpoints[index], request, total_s=max(remaining, 0.001), idle_s=max(idle, 0.001)
            )
        finally:
            self._choice.ended(index)

    def well(self, index: int) -> None:
        """The endpoint answered."""
        self._choice.answered(index)

    def judge(self, index: int, failure: KvError | AttemptFailed) -> None:
        """Whether it was the endpoint that failed: what is wrong with a request says nothing about a node."""
        if isinstance(failure, KvError) and failure.status < 500 and not isinstance(failure, Overloaded):
            self._choice.answered(index)
        else:
            self._choice.failed(index, self._pacing.now())

    async def pause(self, rounds: int, failure: KvError | AttemptFailed, deadline: float) -> None:
        """Between two rounds (rules 6 and 7); not beyond the deadline."""
        ceiling = min(limits.RETRY_BACKOFF_S_MAX, limits.RETRY_BACKOFF_S_MIN * 2.0 ** min(rounds, 10))
        pause = self._pacing.uniform(limits.RETRY_BACKOFF_S_MIN, ceiling)
        asked = failure.retry_after_s if isinstance(failure, KvError) else None
        await self._pacing.sleep(max(0.0, min(max(pause, asked or 0.0), deadline - self._pacing.now())))


class Journey:
    """What the attempts of one operation met, and the error that tells it best."""

    __slots__ = ("_endpoints", "_named", "_problem", "_seen", "_settled", "_unknown", "_write")

    def __init__(self, endpoints: tuple[str, ...], *, write: bool, named: bool) -> None:
        self._endpoints = endpoints
        self._write = write
        self._named = named
        self._settled = 0
        self._seen: dict[str, AttemptFailed] = {}
        self._problem: KvError | None = None
        self._unknown: KvError | ConnectionLost | None = None

    @property
    def fate_unknown(self) -> bool:
        """Whether an attempt of this write may have taken effect, or may still."""
        return self._unknown is not None

    def note(self, endpoint: str, failure: KvError | AttemptFailed) -> None:
        """Keeps the failure if another attempt is allowed; raises otherwise (rules 1 to 5)."""
        if isinstance(failure, KvError):
            self._seen.pop(endpoint, None)
            self._judge(failure)
            return
        self._seen[endpoint] = failure
        if not self._write or isinstance(failure, NotSent):
            return
        if isinstance(failure, Broken):
            self._unknown = ConnectionLost(f"{endpoint}: {failure}")
        else:
            self._unknown = DeadlineExceeded(f"{endpoint} gave no answer before the deadline")
        if not self._named:
            raise self._unknown from failure

    def _judge(self, failure: KvError) -> None:
        self._problem = failure
        if isinstance(failure, IdempotencyExpired):
            if not self.fate_unknown:
                failure.outcome = "not_applied"
            raise failure
        if failure.retry_safe:
            return
        if failure.outcome == "unknown":
            self._unknown = failure
            if self._named:
                return
        elif self._unknown is not None and failure.outcome != "committed" and not isinstance(failure, _FATES):
            raise self._unknown from failure
        raise failure

    def settled(self, failure: KvError | AttemptFailed) -> bool:
        """Whether, with this failure, waiting will not change the verdict (rule 7)."""
        believed = _FOREIGN if self.fate_unknown else _SETTLED + _FOREIGN
        self._settled = self._settled + 1 if isinstance(failure, believed) else 0
        return self._settled >= limits.RETRY_SETTLED_ROUNDS_MAX * len(self._endpoints)

    def verdict(self) -> KvError | LocalError:
        """The error to raise when no further attempt is allowed: what a node said, else what the connections did."""
        if self._unknown is not None:
            if self._problem is not None and self._problem is not self._unknown:
                self._unknown.add_note(f"Asked again, a node said: {self._problem.detail}.")
            return self._unknown
        if self._problem is not None:
            return self._problem
        seen = [endpoint for endpoint in self._endpoints if endpoint in self._seen]
        tale = "; ".join(f"{endpoint}: {self._seen[endpoint]}" for endpoint in seen)
        if all(isinstance(failure, NotSent) for failure in self._seen.values()):
            return CannotConnect(tale)
        return DeadlineExceeded(f"no endpoint answered before the deadline ({tale})", read=True)


def problem(reply: Reply, *, read: bool) -> KvError:
    """The error that an answer of status 400 or more tells."""
    if "json" not in reply.headers.get("Content-Type", ""):
        return InternalError(f"the endpoint answered HTTP {reply.status} without saying what it means", read=read)
    try:
        body = decode_json(reply.body, read=read)
    except InternalError as foreign:
        return foreign
    if not isinstance(body.get("status"), int):
        body["status"] = reply.status
    error = from_problem(body)
    error.retry_after_s = _seconds(reply.headers.get("Retry-After"))
    return error


async def refused(stream: Stream) -> KvError:
    """The error that a stream tells instead of beginning; the caller closes it. Raises AttemptFailed."""
    body = b""
    while len(body) < limits.ADMIN_BODY_BYTES_MAX and (part := await stream.read()):
        body += part
    return problem(Reply(max(stream.status, 400), stream.headers, body), read=True)


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None

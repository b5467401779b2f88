"""Writes at level QUORUM and ALL, from any node.

On the leader, everything that arrives in one turn of the loop is put into one log entry (`proposals`). A follower hands
the write to the leader and passes its answer on. What is known to have been proposed nowhere is tried again within the
deadline; what may have been is never proposed twice.
"""

import asyncio
from typing import Any, Final, NamedTuple

from kvstore import limits
from kvstore.clock import Clock
from kvstore.consensus.configuration import majority
from kvstore.consensus.engine import Engine, ProposalDone
from kvstore.errors import (
    BadRequest,
    DeadlineExceeded,
    KvError,
    MembersUnreachable,
    NoLeader,
    Overloaded,
    StorageFull,
)
from kvstore.model import commands
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import OpResult
from kvstore.model.stamp import ZERO_STAMP, Stamp, next_stamp
from kvstore.node.calls import Calls, NotSent, PeerGone
from kvstore.node.deadlines import Deadlines, Expired
from kvstore.node.leadership import LeaderWatch

CALL_WRITE: Final = "write"


class Written(NamedTuple):
    """A write that met its level: what applying it gave, and how many voters held it of those required."""

    result: OpResult
    required: int
    acked: int


class _Applied(NamedTuple):
    result: OpResult
    at_index: int
    acked: int


_Waiting = tuple[Op, "asyncio.Future[_Applied]"]


class _NotProposed(Exception):
    """Leadership was lost before the write was appended anywhere."""


class Writes:
    """Takes writes to the log and back. Bounded by count and bytes; refuses before memory grows."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        deadlines: Deadlines,
        engine: Engine,
        calls: Calls,
        leaders: LeaderWatch,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._deadlines = deadlines
        self._engine = engine
        self._calls = calls
        self._leaders = leaders
        self._queue: list[_Waiting] = []
        self._open = 0
        self._open_bytes = 0
        self._last_stamp: Stamp = ZERO_STAMP
        calls.serve(CALL_WRITE, self._serve)

    async def write(self, op: Op, level: Level, timeout_s: float) -> Written:
        """Apply `op` through the log. Raises KvError with the outcome; precondition results are in `result.status`."""
        at = self._loop.time() + timeout_s
        size = commands.op_bytes(op)
        if self._open >= limits.PROPOSALS_PENDING_MAX or self._open_bytes + size > limits.PROPOSALS_PENDING_BYTES_MAX:
            raise Overloaded(f"{self._open} writes are waiting already", level=level, retry_after_s=1.0)
        self._open += 1
        self._open_bytes += size
        try:
            return await self._until_proposed(op, level, at)
        except KvError as error:
            error.level = error.level or level
            error.leader = error.leader or self._engine.leader
            raise
        finally:
            self._open -= 1
            self._open_bytes -= size

    async def _until_proposed(self, op: Op, level: Level, at: float) -> Written:
        while True:
            leader = self._engine.leader
            try:
                if self._engine.leads:
                    return await self._here(op, level, at)
                if leader is not None and leader != self._engine.name:
                    return await self._there(leader, op, level, at)
            except (_NotProposed, NotSent):
                if self._engine.leader == leader:
                    await self._leaders.wait_change(min(at, self._loop.time() + 1.0), read=False)
                continue
            await self._leaders.wait(at, read=False)

    # -- on the leader

    async def _here(self, op: Op, level: Level, at: float) -> Written:
        voters = self._engine.configuration.voters
        if level is Level.ALL and (missing := self._engine.unreachable()):
            raise MembersUnreachable(
                f"level all needs every voter; unreachable: {', '.join(missing)}",
                required=len(voters),
                missing=tuple(missing),
            )
        future: asyncio.Future[_Applied] = self._loop.create_future()
        self._queue.append((op, future))
        self._engine.kick()
        try:
            applied: _Applied = await self._deadlines.wait(future, at)
        except Expired:
            self._forget_given_up()
            raise DeadlineExceeded(
                "the write was not committed in time; it may still take effect", required=majority(len(voters))
            ) from None
        if level is Level.QUORUM:
            return Written(applied.result, majority(len(voters)), applied.acked)
        await self._all_have(applied.at_index, at)
        return Written(applied.result, len(voters), len(voters))

    async def _all_have(self, index: int, at: float) -> None:
        """Wait until every voter holds what level ALL promises. The write is committed by now, whatever happens
        here.
        """
        voters = self._engine.configuration.voters
        future: asyncio.Future[KvError | None] = self._loop.create_future()

        def done(error: KvError | None) -> None:
            if not future.done():
                future.set_result(error)

        self._engine.when_all_have(index, done)
        try:
            error = await self._deadlines.wait(future, at)
        except Expired:
            error = DeadlineExceeded("")
        if error is not None:
            missing = self._engine.behind(index)
            raise DeadlineExceeded(
                f"the write is committed, but not known to be on {', '.join(missing)}",
                outcome="committed",
                required=len(voters),
                acked=len(voters) - len(missing),
                missing=tuple(missing),
            )

    def proposals(self, last_applied: Stamp, *, full: bool) -> list[tuple[bytes, ProposalDone]]:
        """Everything that waits, as commands of bounded size, or as much as one step may take.

        Writes whose caller has given up by now are left out. While storage is `full`, only deletes go through.
        """
        if full:
            self._refuse_puts()
        queue, self._queue = self._split_queue()
        if self._queue:
            self._engine.kick()
        batches: list[tuple[bytes, ProposalDone]] = []
        ops: list[Op] = []
        futures: list[asyncio.Future[_Applied]] = []
        size = 0
        for op, future in queue:
            if future.done():
                continue
            op_size = commands.op_bytes(op)
            if ops and (size + op_size > limits.ENTRY_BYTES_MAX or len(ops) >= limits.ENTRY_OPS_MAX):
                batches.append(self._batch(ops, futures, last_applied))
                ops, futures, size = [], [], 0
            ops.append(op)
            futures.append(future)
            size += op_size
        if ops:
            batches.append(self._batch(ops, futures, last_applied))
        return batches

    def _split_queue(self) -> tuple[list[_Waiting], list[_Waiting]]:
        size = 0
        for place, (op, _) in enumerate(self._queue):
            size += commands.op_bytes(op)
            if place and size > limits.STEP_BYTES_MAX:
                return self._queue[:place], self._queue[place:]
        return self._queue, []

    def _forget_given_up(self) -> None:
        """While nothing is proposed, writes whose callers gave up must not pile up behind the admission bounds."""
        if len(self._queue) > 2 * self._open:
            self._queue = [waiting for waiting in self._queue if not waiting[1].done()]

    def _refuse_puts(self) -> None:
        kept = []
        for op, future in self._queue:
            if op[0] == commands.OP_DELETE:
                kept.append((op, future))
            elif not future.done():
                future.set_exception(StorageFull("a majority of the voters has no room on disk; deletes go on"))
        self._queue = kept

    def _batch(
        self, ops: list[Op], futures: list["asyncio.Future[_Applied]"], last_applied: Stamp
    ) -> tuple[bytes, ProposalDone]:
        last = max(self._last_stamp, last_applied)
        self._last_stamp = next_stamp(self._clock.wall_ms(), last, self._engine.name)

        def done(results: Any, index: int, error: KvError | None) -> None:
            acked = self._engine.holders(index) if error is None else 0
            for place, future in enumerate(futures):
                if future.done():
                    continue
                if error is not None:
                    # Each caller adds its own level and leader to the error, so each gets one of its own.
                    future.set_exception(type(error)(error.detail, outcome=error.outcome))
                else:
                    future.set_result(_Applied(results[place], index, acked))

        return commands.encode(ops, self._last_stamp), done

    def leadership_lost(self) -> None:
        """What was queued but not appended goes to the next leader."""
        queue, self._queue = self._queue, []
        for _, future in queue:
            if not future.done():
                future.set_exception(_NotProposed())

    # -- between nodes

    async def _there(self, leader: str, op: Op, level: Level, at: float) -> Written:
        remaining_ms = max(int((at - self._loop.time()) * 1000), 1)
        try:
            status, revision, version, required, acked = await self._calls.call(
                leader, CALL_WRITE, [list(op), level.value, remaining_ms], at
            )
        except Expired:
            raise DeadlineExceeded(
                f"the leader {leader} did not answer in time; the write may still take effect"
            ) from None
        except PeerGone:
            raise DeadlineExceeded(
                f"the connection to the leader {leader} ended before its answer came; the write may have taken effect"
            ) from None
        except NoLeader as error:
            raise _NotProposed from error  # the node asked had just stopped leading; nothing was appended
        return Written(OpResult(status, revision, version), required, acked)

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        op, level, timeout_ms = parse_write_call(body)
        if not self._engine.leads:
            raise NoLeader("this node does not lead")
        at = self._loop.time() + timeout_ms / 1000
        try:
            written = await self._here(op, level, at)
        except _NotProposed:
            raise NoLeader("this node stopped leading before the write was appended") from None
        return [*written.result, written.required, written.acked]


def parse_write_call(body: list[Any]) -> tuple[Op, Level, int]:
    """The operation, level and milliseconds that a peer forwarded. Raises BadRequest for anything malformed."""
    match body:
        case [[commands.OP_PUT, bytes(key), bytes(value), None | int() as condition], str(name), int(timeout_ms)]:
            op = commands.put(key, value, condition)
        case [[commands.OP_DELETE, bytes(key), None | int() as condition], str(name), int(timeout_ms)]:
            op = commands.delete(key, condition)
            value = b""
        case _:
            raise BadRequest("a forwarded write is malformed")
    if not 0 < len(key) <= limits.KEY_BYTES_MAX or len(value) > limits.VALUE_BYTES_MAX:
        raise BadRequest("a forwarded write is out of bounds")
    if name not in (Level.QUORUM, Level.ALL) or not 0 < timeout_ms <= limits.TIMEOUT_MS_MAX:
        raise BadRequest("a forwarded write has no valid level or timeout")
    return op, Level(name), timeout_ms

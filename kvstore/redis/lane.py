"""What all connections of the door ask for in one turn of the loop, taken to the node together.

Tens of thousands of small reads and writes a second come from many connections, one from each. A task for each would
cost more than what it asks for. So they are collected, by level, until the loop has run what else arrived; then one
task waits for all reads of a level (they share one ReadIndex round), and one for each part of the writes (they share a
log entry and its fsync). Whoever asked is called back.

Order. Writes that are handed over in one call, a run, are applied in its order: they stay in one part. Between runs
there is none, so a connection hands over the next one when the one before it has been answered.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

import structlog

from kvstore import limits
from kvstore.errors import InternalError, KvError
from kvstore.guard.gate import Gate
from kvstore.model.batches import BatchOp
from kvstore.model.commands import OP_PUT, Op, checked
from kvstore.model.levels import Level
from kvstore.model.results import OpResult, WriteAnswer
from kvstore.redis.store import Store, Written
from kvstore.telemetry.metrics import RedisMeter

_log = structlog.get_logger("kvstore.redis")

Fate = Written | WriteAnswer | KvError
"""What became of a write; a WriteAnswer, with its receipt, at level ONE."""

Fresh = Callable[[KvError | None], None]
Done = Callable[[Sequence[Fate]], None]


class _Run(NamedTuple):
    ops: Sequence[Op]
    size: int
    done: Done


class Lane:
    """Reads and writes of all connections, to the node and back. Bounded by those who hand over: one run each."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, meter: RedisMeter, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self._loop = loop
        self._meter = meter
        self._reads: dict[Level, list[Fresh]] = {}
        self._writes: dict[Level, list[_Run]] = {}
        self._flights: set[asyncio.Task[None]] = set()
        self._leaving = False

    @property
    def auth_revision(self) -> int:
        """The present one; 0 while auth is not enabled."""
        return self._gate.store.auth.revision if self._gate.enabled else 0

    async def auth_changed(self, seen: int) -> None:
        """Waits until this node has applied another auth revision than `seen`. Raises KvError."""
        if self.auth_revision == seen:
            await self._gate.store.auth_reached(
                self._gate.store.auth.revision + 1, timeout_s=limits.REDIS_COMMAND_S_MAX
            )

    def checked(self, level: Level, op: Op) -> Op:
        """`op` with the present auth revision, for what was checked in this very turn of the loop, or is the door's
        own. At level ONE the check is that of the node which takes it in.
        """
        gate = self._gate
        return checked(op, gate.store.auth.revision) if gate.enabled and level is not Level.ONE else op

    def fresh(self, level: Level, done: Fresh) -> None:
        """Calls `done(None)` once the state is as fresh as `level`, ONE or QUORUM, asks, else with the error."""
        waiting = self._reads.get(level)
        if waiting is None:
            waiting = self._reads[level] = []
        waiting.append(done)
        if not self._leaving:
            self._leave_soon()

    def write(self, level: Level, ops: Sequence[Op], size: int, done: Done) -> None:
        """Calls `done` with what became of each of `ops`, which have `size` bytes: REDIS_RUN_BYTES_MAX at most, or
        there is one.
        """
        waiting = self._writes.get(level)
        if waiting is None:
            waiting = self._writes[level] = []
        waiting.append(_Run(ops, size, done))
        if not self._leaving:
            self._leave_soon()

    async def freshened(self, level: Level) -> None:
        """Waits for `fresh`. Raises KvError."""
        future: asyncio.Future[None] = self._loop.create_future()

        def done(failed: KvError | None) -> None:
            if failed is None:
                future.set_result(None)
            else:
                future.set_exception(failed)

        self.fresh(level, done)
        await future

    async def written(self, level: Level, ops: Sequence[Op], size: int) -> list[Fate]:
        """Waits for `write`; never raises for one of them."""
        future: asyncio.Future[list[Fate]] = self._loop.create_future()
        self.write(level, ops, size, lambda fates: future.set_result(list(fates)))
        return await future

    async def one(self, level: Level, op: Op, size: int) -> OpResult:
        """One write at QUORUM or ALL. Raises KvError."""
        (fate,) = await self.written(level, (op,), size)
        if isinstance(fate, KvError):
            raise fate
        assert not isinstance(fate, WriteAnswer)
        return fate.result

    def _leave_soon(self) -> None:
        self._leaving = True
        self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        self._leaving = False
        reads, self._reads = self._reads, {}
        for level, waiting in reads.items():
            self._start(self._read(level, waiting))
        writes, self._writes = self._writes, {}
        for level, runs in writes.items():
            for part in _parts(runs):
                self._start(self._write(level, part))

    def _start(self, flight: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(flight)
        self._flights.add(task)
        task.add_done_callback(self._flights.discard)

    async def _read(self, level: Level, waiting: list[Fresh]) -> None:
        failed: KvError | None = None
        began_s = self._loop.time()
        try:
            await self._store.freshen_batch(level, began_s + limits.REDIS_COMMAND_S_MAX)
        except KvError as late:
            failed = late
        except Exception as fault:
            _log.error("redis_read_failed", exc_info=fault)
            failed = InternalError("the server failed; its log has more", read=True)
        self._meter.waited("read", level.value, self._loop.time() - began_s)
        for done in waiting:
            try:
                done(failed)
            except Exception as fault:  # one connection's fault must not keep the others waiting
                _log.error("redis_answer_failed", exc_info=fault)

    async def _write(self, level: Level, runs: list[_Run]) -> None:
        ops = runs[0].ops if len(runs) == 1 else [op for run in runs for op in run.ops]
        fates: Sequence[Fate]
        began_s = self._loop.time()
        try:
            if level is Level.ONE:
                fates = await self._taken_in(ops)
            else:
                fates = await self._store.write_batch(ops, level, began_s + limits.REDIS_COMMAND_S_MAX)
        except Exception as fault:
            _log.error("redis_write_failed", exc_info=fault)
            fates = [InternalError("the server failed; its log has more")] * len(ops)
        self._meter.waited("write", level.value, self._loop.time() - began_s)
        place = 0
        for run in runs:
            end = place + len(run.ops)
            try:
                run.done(fates[place:end])
            except Exception as fault:
                _log.error("redis_answer_failed", exc_info=fault)
            place = end

    async def _taken_in(self, ops: Sequence[Op]) -> list[Fate]:
        """Level ONE: all are taken in at once, and share a sync of the intent log."""
        taken: list[Any] = []
        for op in ops:
            value = op[2] if op[0] == OP_PUT else b""
            kind = "put" if op[0] == OP_PUT else "delete"
            try:
                taken.append(self._store.enter_one(BatchOp(kind, op[1], value, Level.ONE, None, None)))  # type: ignore[arg-type]
            except KvError as refused:
                taken.append(refused)
        fates: list[Fate] = []
        for each in taken:
            if isinstance(each, KvError):
                fates.append(each)
                continue
            try:
                fates.append(await each)
            except KvError as refused:
                fates.append(refused)
        return fates


def _parts(runs: list[_Run]) -> list[list[_Run]]:
    """`runs`, put together so that no run is cut by the bounds on what travels to the leader at a time."""
    parts: list[list[_Run]] = []
    part: list[_Run] = []
    count = size = 0
    for run in runs:
        fits = count + len(run.ops) <= limits.BATCH_PART_OPS_MAX and size + run.size <= limits.BATCH_PART_BYTES_MAX
        if part and not fits:
            parts.append(part)
            part, count, size = [], 0, 0
        part.append(run)
        count += len(run.ops)
        size += run.size
    if part:
        parts.append(part)
    return parts

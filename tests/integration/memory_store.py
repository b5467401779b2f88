"""A store of one process's memory, for tests of the doors: the real state machine, no consensus, no disk.

Writes at level ONE stay pending until `hand_over` is called, as on a node without a leader.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvstore.errors import (
    BadRequest,
    Compacted,
    DeadlineExceeded,
    IdempotencyConflict,
    KvError,
    LeaseNotFound,
    NotFound,
)
from kvstore.limits import RANGE_PAGE_BYTES_MAX
from kvstore.model import commands
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Command, Once, Op, Origin, request_digest
from kvstore.model.levels import Level
from kvstore.model.results import (
    APPLIED,
    NOT_FOUND,
    ONCE_CONFLICT,
    SUPERSEDED,
    ClusterView,
    LeaseAnswer,
    MemberView,
    OpResult,
    RangeAnswer,
    ReadAnswer,
    Receipt,
    Record,
    WriteAnswer,
)
from kvstore.model.stamp import Stamp
from kvstore.node.checked import as_checked
from kvstore.node.deadlines import Deadlines
from kvstore.node.receipts import parse_receipt_id
from kvstore.node.refusals import refusal
from kvstore.node.transactions import Transactions
from kvstore.node.watches import Watch, Watched, Watches
from kvstore.node.writes import Written
from kvstore.state.auth import Auth
from kvstore.state.machine import Compacted as NotKept
from kvstore.state.machine import Machine
from kvstore.state.past import NOTHING_SHOWN
from kvstore.telemetry.trace import ProtocolTrace

EPOCH = 0xE1
MS = 1_700_000_000_000


def _kept(read: Callable[..., Any], *asked: object) -> Any:
    """A read in the past, or why it is none any more."""
    try:
        return read(*asked)
    except NotKept as kept_from:
        raise Compacted.at(kept_from.revision + 1, f"the history begins at revision {kept_from.revision}") from None


class MemoryLeases:
    """Leases that nobody lets expire."""

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store

    async def grant(self, ttl_ms: int, *, once: Once | None, timeout_s: float) -> LeaseAnswer:
        written = await self._store._write(commands.grant(ttl_ms, once), Level.QUORUM, timeout_s)
        return LeaseAnswer(written.result.revision, ttl_ms, ttl_ms, ())

    async def keep_alive(self, leases: Sequence[int], *, timeout_s: float) -> list[int]:
        await self._store._enter("keep_alive", leases, timeout_s)
        return [self._store.machine.leases.ttl_ms(lease) or 0 for lease in leases]

    async def lease(self, lease: int, *, timeout_s: float) -> LeaseAnswer:
        ((ttl_ms,), there) = await self.keep_alive([lease], timeout_s=timeout_s), self._store.machine.leases
        if not ttl_ms:
            raise LeaseNotFound("there is no such lease", read=True)
        return LeaseAnswer(lease, ttl_ms, ttl_ms, tuple(there.keys(lease)))

    async def leases(self, *, timeout_s: float) -> list[int]:
        return list(self._store.machine.leases)

    async def revoke(self, lease: int, *, once: Once | None, timeout_s: float) -> int:
        return (await self._store._write(commands.revoke(lease, once), Level.QUORUM, timeout_s)).result.version


class MemoryBackup:
    """Some bytes, a thousand at a time. `fails_at`: where reading fails."""

    index = 7
    fails_at: int | None = None

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.open = True

    async def read(self, offset: int) -> bytes:
        assert self.open
        if self.fails_at is not None and offset >= self.fails_at:
            raise OSError("the disk is gone")
        return self.data[offset : offset + 1_000]

    def close(self) -> None:
        self.open = False


class MemoryStore:
    """`fail` is raised by the next calls while it is set; `gate`, when set, holds calls until it opens."""

    name = "n1"

    def __init__(self) -> None:
        self.machine = Machine()
        self.pending: list[Op] = []
        self.handed_over = 0
        self.counter = 0
        self.trace = ProtocolTrace(self.name, lambda: MS)
        self.alarms: list[dict[str, str]] = []
        self.fail: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.not_ready: str | None = None
        self.calls: list[tuple[object, ...]] = []
        self.watches: Watches | None = None
        self.backup_bytes = b""
        self.backups: list[MemoryBackup] = []
        self.transactions = Transactions(self._write)
        self.leases = MemoryLeases(self)
        self.listeners: list[Callable[[], None]] = []

    # -- for tests

    @property
    def revision(self) -> int:
        return self.machine.revision

    @property
    def records(self) -> dict[bytes, Record]:
        """What is committed."""
        return dict(self.machine.range(b"", None, limit=1_000_000, bytes_max=1 << 40)[0])

    def clear(self) -> None:
        for key in self.records:
            self._apply(commands.delete(key))

    def hand_over(self) -> None:
        """Commit what is pending, as if there were a leader again."""
        pending, self.pending = self.pending, []
        if pending:
            origin = Origin(self.name, EPOCH, 0, self.handed_over + 1)
            self.handed_over += len(pending)
            self._next(Command(commands.KIND_INTENTS, pending, self._tick(), origin=origin))

    def let_pass(self, ms: int) -> None:
        """Log time goes on by so much, with the next entry."""
        self._next(Command(commands.KIND_OPS, [], self.machine.last_stamp._replace(ms=self.machine.last_stamp.ms + ms)))

    # -- Store

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: Level,
        condition: int | None,
        once: Once | None,
        lease: int = commands.NO_LEASE,
        timeout_s: float,
    ) -> WriteAnswer:
        await self._enter("put", key, level, condition, once, timeout_s)
        if level is Level.ONE:
            stamp = self._one(condition, once)
            return self._taken(key, (commands.OP_PUT, key, value, stamp.ms, stamp.counter, once))
        return self._written(key, level, self._judged(commands.put(key, value, condition, once, lease)))

    async def delete(
        self, key: bytes, *, level: Level, condition: int | None, once: Once | None, timeout_s: float
    ) -> WriteAnswer:
        await self._enter("delete", key, level, condition, once, timeout_s)
        if level is Level.ONE:
            stamp = self._one(condition, once)
            return self._taken(key, (commands.OP_DELETE, key, stamp.ms, stamp.counter, once))
        return self._written(key, level, self._judged(commands.delete(key, condition, once)))

    async def open_session(self, *, timeout_s: float) -> int:
        await self._enter("open_session", timeout_s)
        return self._judged(commands.open_session()).revision

    async def close_session(self, session: int, *, timeout_s: float) -> None:
        await self._enter("close_session", session, timeout_s)
        self._apply(commands.close_session(session))

    async def receipt(self, text: str, *, timeout_s: float) -> Receipt:
        await self._enter("receipt", text, timeout_s)
        node, epoch, number = parse_receipt_id(text)
        result = self.machine.intent_result(node, epoch, number)
        if result is None:
            known = self.handed_over < number <= self.handed_over + len(self.pending)
            lost = Receipt(text, Level.ONE, "unknown", None, "lost")
            return Receipt(text, Level.ONE, "pending", None, None) if known else lost
        if result.status in (SUPERSEDED, ONCE_CONFLICT):
            return Receipt(text, Level.ONE, "superseded", None, "conflict" if result.status == ONCE_CONFLICT else None)
        return Receipt(text, Level.ONE, "committed", result.revision if result.status == APPLIED else None, None)

    async def get(
        self,
        key: bytes,
        *,
        level: Level,
        min_revision: int | None,
        max_staleness_s: float | None,
        revision: int | None = None,
        timeout_s: float,
    ) -> ReadAnswer:
        await self._enter("get", key, level, min_revision, max_staleness_s, timeout_s)
        if revision is None:
            return self.read_now(key, level)
        machine, record = self.machine, _kept(self.machine.get_at, key, revision)
        return ReadAnswer(record, machine.revision, machine.applied_index, self.name, self.stamp())

    def read_now(self, key: bytes, level: Level) -> ReadAnswer:
        machine = self.machine
        record = self.record_now(key, level)
        return ReadAnswer(record, machine.revision, machine.applied_index, self.name, self.stamp())

    def record_now(self, key: bytes, level: Level) -> Record | None:
        machine = self.machine
        if level is Level.ONE:
            newest = next((op for op in reversed(self.pending) if op[1] == key), None)
            if newest is not None and (stamp := self._stamp_of(newest)) >= machine.stamp_of(key):
                return Record(newest[2], 0, 0, 0, 0, stamp) if newest[0] == commands.OP_PUT else None
        return machine.get(key)

    async def freshen_batch(self, level: Level, at: float) -> None:
        await self._enter("freshen", level)

    async def read_all(self, key: bytes, at: float) -> ReadAnswer:
        await self._enter("read_all", key)
        return self.read_now(key, Level.ALL)

    async def write_batch(self, ops: Sequence[Op], level: Level, at: float) -> list[Written | KvError]:
        told: list[Written | KvError] = []
        for op in ops:
            try:
                await self._enter("write_batch", op, level)
                told.append(Written(self._judged(op), 1, 1))
            except KvError as refused:
                told.append(refused)
        return told

    def enter_one(self, op: BatchOp) -> Coroutine[Any, Any, WriteAnswer]:
        kind, key, value, level, condition, once, lease = op
        if kind == "put":
            return self.put(key, value, level=level, condition=condition, once=once, lease=lease, timeout_s=1.0)
        return self.delete(key, level=level, condition=condition, once=once, timeout_s=1.0)

    async def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        level: Level,
        limit: int,
        after: bytes | None,
        reverse: bool,
        revision: int | None = None,
        count: int | None = None,
        timeout_s: float,
    ) -> RangeAnswer:
        await self._enter("range", start, end, level, limit, after, reverse, timeout_s)
        machine = self.machine
        shown = NOTHING_SHOWN if revision is None else _kept(machine.shown_at, revision)
        page, total, more = machine.range(
            start,
            end,
            limit=limit,
            after=after,
            bytes_max=RANGE_PAGE_BYTES_MAX,
            reverse=reverse,
            shown=shown,
            count=count,
        )
        at = machine.revision if revision is None else revision
        return RangeAnswer(at, total, page, more, machine.applied_index, self.name, self.stamp())

    async def batch(self, ops: Sequence[BatchOp], *, timeout_s: float) -> list[BatchResult]:
        await self._enter("batch", len(ops), timeout_s)
        return [await self._one_of_batch(op, timeout_s) for op in ops]

    async def _one_of_batch(self, op: BatchOp, timeout_s: float) -> BatchResult:
        kind, key, value, level, condition, once, lease = op
        try:
            if kind == "get":
                got = await self.get(
                    key, level=level, min_revision=None, max_staleness_s=None, revision=None, timeout_s=timeout_s
                )
                return got.record or NotFound("the key is absent", read=True, leader=self.name)
            if kind == "delete":
                return await self.delete(key, level=level, condition=condition, once=once, timeout_s=timeout_s)
            return await self.put(
                key, value, level=level, condition=condition, once=once, lease=lease, timeout_s=timeout_s
            )
        except KvError as refused:
            return refused

    async def watch(self, key: bytes, *, prefix: bool, start: int | None, timeout_s: float) -> Watch:
        await self._enter("watch", key, prefix, start, timeout_s)
        if self.watches is None:
            loop = asyncio.get_running_loop()
            self.watches = Watches(loop, Deadlines(loop), lambda: self.machine)
        return self.watches.open(Watched(key, prefix), self.revision + 1 if start is None else start)

    async def settings(self, *, timeout_s: float) -> tuple[int, dict[str, int]]:
        await self._enter("settings", timeout_s)
        return self.machine.feature_level, dict(self.machine.settings)

    async def change_setting(self, name: str, value: int, *, timeout_s: float) -> None:
        await self._write(commands.set_setting(name, value), Level.QUORUM, timeout_s)

    async def backup(self, *, level: Level, timeout_s: float) -> "MemoryBackup":
        await self._enter("backup", level, timeout_s)
        self.backups.append(MemoryBackup(self.backup_bytes))
        return self.backups[-1]

    @property
    def auth(self) -> Auth:
        return self.machine.auth

    def on_auth_changed(self, listener: Callable[[], None]) -> None:
        self.listeners.append(listener)

    async def auth_reached(self, auth_revision: int, *, timeout_s: float) -> None:
        if self.machine.auth.revision < auth_revision:
            raise DeadlineExceeded("it was not reached in time", read=True)

    async def auth_now(self, *, timeout_s: float) -> Auth:
        await self._enter("auth_now", timeout_s)
        return self.machine.auth

    async def change_auth(self, action: int, arguments: tuple[Any, ...], *, timeout_s: float) -> int:
        return (await self._write(commands.auth(action, *arguments), Level.QUORUM, timeout_s)).result.revision

    def end_watches(self) -> None:
        if self.watches is not None:
            self.watches.close()

    async def cluster(self) -> ClusterView:
        applied = self.machine.applied_index
        digest = {"index": applied, "value": f"{12_345:016x}"}
        member = MemberView(
            "n1",
            "leader",
            True,
            True,
            "http://127.0.0.1:8480",
            "127.0.0.1:8481",
            applied,
            applied,
            len(self.pending),
            digest,
        )
        return ClusterView("c1", "n1", "n1", 3, applied, self.revision, [member], self.alarms)

    async def add_member(self, name: str, peer: str, *, timeout_s: float) -> ClusterView:
        await self._enter("add_member", name, peer, timeout_s)
        return await self.cluster()

    async def remove_member(self, name: str, *, force: bool, timeout_s: float) -> tuple[ClusterView, int | None]:
        await self._enter("remove_member", name, force, timeout_s)
        return await self.cluster(), 0

    async def transfer_leader(self, name: str | None, *, timeout_s: float) -> ClusterView:
        await self._enter("transfer_leader", name, timeout_s)
        return await self.cluster()

    def trace_lines(self, since: int, limit: int) -> bytes:
        return self.trace.lines(since, limit)

    def ready(self) -> str | None:
        return self.not_ready

    def stamp(self) -> Stamp:
        return Stamp(MS, self.counter, self.name, 0)

    def heard(self, stamp: Stamp) -> None:
        if stamp.ms <= MS:
            self.counter = max(self.counter, stamp.counter)

    # -- within

    async def _enter(self, *call: object) -> None:
        self.calls.append(call)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail

    def _tick(self) -> Stamp:
        self.counter += 1
        return self.stamp()

    def _next(self, command: Command) -> list[OpResult]:
        before = self.machine.auth.revision
        results = self.machine.apply(self.machine.applied_index + 1, 3, command)
        if self.machine.auth.revision != before:
            for listener in self.listeners:
                listener()
        if self.watches is not None:
            self.watches.applied()
        return results

    def _apply(self, op: Op) -> OpResult:
        return self._next(Command(commands.KIND_OPS, [as_checked(op)], self._tick()))[0]

    def _judged(self, op: Op) -> OpResult:
        result = self._apply(op)
        refused = refusal(result, Level.QUORUM, self.name)
        if result.status == NOT_FOUND and op[0] == commands.OP_DELETE:
            refused = NotFound("the key is absent", leader=self.name)
        if refused is not None:
            raise refused
        return result

    async def _write(self, op: Op, level: Level, timeout_s: float) -> Written:
        await self._enter("write", op, level, timeout_s)
        return Written(self._judged(op), 1, 1)

    def _one(self, condition: int | None, once: Once | None) -> Stamp:
        if condition is not None or isinstance(once, tuple):
            raise BadRequest("a write at level one takes no condition and no session")
        return self._tick()

    def _taken(self, key: bytes, op: Op) -> WriteAnswer:
        place = len(self.pending)
        for number, known in enumerate(self.pending):
            if op[-1] is not None and known[-1] == op[-1]:
                if self._digest(known) != self._digest(op):
                    raise IdempotencyConflict("this idempotency key belongs to another request")
                place = number
        if place == len(self.pending):
            self.pending.append(op)
        receipt = f"{self.name}.{EPOCH:x}.{self.handed_over + place + 1}"
        return WriteAnswer(key, None, None, Level.ONE, 1, 1, "pending", receipt)

    def _digest(self, op: Op) -> int:
        return request_digest(op[0], op[1], op[2] if op[0] == commands.OP_PUT else b"", None)

    def _stamp_of(self, op: Op) -> Stamp:
        return Stamp(op[-3], op[-2], self.name, 0)

    def _written(self, key: bytes, level: Level, result: OpResult) -> WriteAnswer:
        return WriteAnswer(key, result.revision, result.version, level, 1, 1, "committed", None)

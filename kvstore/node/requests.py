"""What a node does for its doors: reads and writes at every level, receipts, sessions.

Everything that is read comes from the state machine, after the wait that its level asks for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvstore.errors import (
    BadRequest,
    Compacted,
    DeadlineExceeded,
    KvError,
    NotAVoter,
    NotFound,
    Overloaded,
)
from kvstore.limits import RANGE_PAGE_BYTES_MAX, READS_PENDING_MAX
from kvstore.model import commands
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Once, Op
from kvstore.model.levels import Level
from kvstore.model.results import (
    NOT_FOUND,
    RangeAnswer,
    ReadAnswer,
    Receipt,
    Record,
    WriteAnswer,
)
from kvstore.model.stamp import Stamp
from kvstore.node.all_reads import AllReads
from kvstore.node.batched_writes import BatchedWrites
from kvstore.node.batches import carry_out
from kvstore.node.checked import all_checked, as_checked
from kvstore.node.deadlines import Expired
from kvstore.node.freshness import Freshness
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.intents import Intent, IntentLog
from kvstore.node.overlay import as_record
from kvstore.node.reads import AppliedWaits, QuorumReads
from kvstore.node.receipts import Receipts, receipt_id
from kvstore.node.refusals import refusal
from kvstore.node.retirement import Retirement
from kvstore.node.site import Site
from kvstore.node.watches import Watch, Watched, Watches
from kvstore.node.writes import Writes, Written
from kvstore.state.auth import Auth
from kvstore.state.machine import Compacted as NotKept
from kvstore.state.machine import Machine
from kvstore.state.past import NOTHING_SHOWN


class Requests:
    """The half of `Node` that doors call (kvstore.http.store.Store); `Node` sets all of these."""

    name: str
    reads: QuorumReads
    watches: Watches
    _site: Site
    _machine: Machine
    _clock: HybridClock
    _intents: IntentLog
    _writes: Writes
    _batched_writes: BatchedWrites
    _all_reads: AllReads
    _receipts: Receipts
    _freshness: Freshness
    _retirement: Retirement
    _applied_waits: AppliedWaits
    _revision_waits: AppliedWaits
    _reads_open: int
    _auth_waits: AppliedWaits
    _auth_listeners: list[Callable[[], None]]
    _named_voter: bool
    _serves_one_from: int

    @property
    def _is_voter(self) -> bool:
        """Whether this node is one, as far as it knows: the first configuration names no directories."""
        if self._named_voter:
            return True
        engine = self._site.engine
        own = engine.configuration.member(self.name)
        return own is not None and own.voter and not own.identity and engine.founds

    @property
    def _acts_alone(self) -> bool:
        """Whether this node answers at level ONE by itself: a voter that is not about to be removed. One that was
        removed is not told, and what is written at ALL from then on is not on it.
        """
        return self._is_voter and not self._retirement.retired

    # -- writes

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: Level,
        condition: int | None = None,
        once: Once | None = None,
        lease: int = commands.NO_LEASE,
        timeout_s: float,
    ) -> WriteAnswer:
        """Write `value`; see Store."""
        if level is Level.ONE:
            _no_lease(lease)
            return await self._write_one(commands.OP_PUT, key, value, condition, once)
        written = await self._write(commands.put(key, value, condition, once, lease), level, timeout_s)
        return _answer(key, level, written)

    async def delete(
        self, key: bytes, *, level: Level, condition: int | None = None, once: Once | None = None, timeout_s: float
    ) -> WriteAnswer:
        """Delete `key`; see Store."""
        if level is Level.ONE:
            return await self._write_one(commands.OP_DELETE, key, b"", condition, once)
        written = await self._write(commands.delete(key, condition, once), level, timeout_s)
        if written.result.status == NOT_FOUND:
            raise NotFound("the key is absent", level=level)
        return _answer(key, level, written)

    async def open_session(self, *, timeout_s: float) -> int:
        """The number of a new session; see Store."""
        return (await self._write(commands.open_session(), Level.QUORUM, timeout_s)).result.revision

    async def close_session(self, session: int, *, timeout_s: float) -> None:
        """Forget a session; see Store."""
        await self._write(commands.close_session(session), Level.QUORUM, timeout_s)

    async def _write(self, op: Op, level: Level, timeout_s: float) -> Written:
        written = await self._writes.write(as_checked(op), level, timeout_s)
        refused = refusal(written.result, level, self._site.engine.leader)
        if refused is not None:
            raise refused
        return written

    async def _write_one(
        self, kind: int, key: bytes, value: bytes, condition: int | None, once: Once | None
    ) -> WriteAnswer:
        return await self._acknowledged(key, self._enter_one(kind, key, value, condition, once))

    def _enter_one(
        self, kind: int, key: bytes, value: bytes, condition: int | None, once: Once | None
    ) -> "asyncio.Future[Intent]":
        level = Level.ONE
        if condition is not None:
            raise BadRequest("a write at level one takes no condition: its node may not know the present value")
        if once is not None and not isinstance(once, bytes):
            raise BadRequest("a write at level one takes an idempotency key, but no session")
        self._refuse_if_new(level, read=False)
        if not self._acts_alone:
            raise NotAVoter(f"{self.name} is no voter, or about to be removed: ask another node", level=level)
        try:
            return self._intents.enter(kind, key, value, once)
        except KvError as error:
            error.level = level
            raise

    async def _acknowledged(self, key: bytes, entered: "asyncio.Future[Intent]") -> WriteAnswer:
        try:
            intent = await entered
        except KvError as error:
            error.level = Level.ONE
            raise
        return WriteAnswer(key, None, None, Level.ONE, 1, 1, "pending", receipt_id(self.name, intent))

    def _refuse_if_new(self, level: Level, *, read: bool) -> None:
        """It may have lost its disk: nobody takes over what it acknowledges, and what it lacks may be elsewhere."""
        if waits_for := self._site.engine.waits_for:
            problem = f"{self.name} is new, and has not heard from {', '.join(waits_for)}"
            raise NotAVoter(problem, level=level, read=read)

    async def receipt(self, text: str, *, timeout_s: float) -> Receipt:
        """What became of a write at level ONE; see Store."""
        return await self._receipts.get(text, self._site.in_s(timeout_s))

    # -- reads

    async def get(
        self,
        key: bytes,
        *,
        level: Level,
        min_revision: int | None = None,
        max_staleness_s: float | None = None,
        revision: int | None = None,
        timeout_s: float,
    ) -> ReadAnswer:
        """Read `key`; see Store."""
        at = self._site.in_s(timeout_s)
        if level is Level.ALL:
            return await self.read_all(key, at, min_revision)
        await self._freshen(level, min_revision if revision is None else revision, max_staleness_s, at)
        if revision is None:
            return self.read_now(key, level)
        machine = self._machine
        try:
            record = machine.get_at(key, revision)
        except NotKept as kept_from:
            raise _compacted(kept_from) from None
        return ReadAnswer(record, revision, machine.applied_index, self._site.engine.leader, self.stamp())

    async def read_all(self, key: bytes, at: float, min_revision: int | None = None) -> ReadAnswer:
        """Read `key` at level ALL, by loop time `at`."""
        await self._admitted(Level.ALL, self._all_reads.check(key, at))
        await self._freshen(Level.ONE, min_revision, None, at)
        return self.read_now(key, Level.ALL)

    def read_now(self, key: bytes, level: Level) -> ReadAnswer:
        """What the applied state says of `key`, with this node's own pending writes at level ONE."""
        machine = self._machine
        record = self.record_now(key, level)
        return ReadAnswer(record, machine.revision, machine.applied_index, self._site.engine.leader, self.stamp())

    def record_now(self, key: bytes, level: Level) -> Record | None:
        """The record of it alone."""
        machine = self._machine
        if level is Level.ONE and (pending := self._intents.overlay.over(machine, key)) is not None:
            return as_record(pending)
        return machine.get(key)

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
        """Read a page; see Store."""
        await self._freshen(level, revision, None, self._site.in_s(timeout_s))
        machine = self._machine
        overlay = self._intents.overlay
        shown = NOTHING_SHOWN
        if revision is not None:
            try:
                shown = machine.shown_at(revision)
            except NotKept as kept_from:
                raise _compacted(kept_from) from None
        elif level is Level.ONE and len(overlay):
            shown = overlay.shown(machine, start, end)
        records, total, following = machine.range(
            start,
            end,
            limit=limit,
            after=after,
            bytes_max=RANGE_PAGE_BYTES_MAX,
            reverse=reverse,
            shown=shown,
            count=count,
        )
        return RangeAnswer(
            machine.revision if revision is None else revision,
            total,
            records,
            following,
            machine.applied_index,
            self._site.engine.leader,
            self.stamp(),
        )

    async def _freshen(self, level: Level, min_revision: int | None, max_staleness_s: float | None, at: float) -> None:
        """Wait until the applied state is as fresh as `level` asks, has reached `min_revision`, and is not staler than
        `max_staleness_s`.
        """
        if level is Level.ONE:
            self._refuse_if_new(level, read=True)
        serves_one = self._acts_alone and self._serves_one_from <= self._machine.applied_index
        reached = min_revision is None or min_revision <= self._machine.revision
        if level is Level.ONE and serves_one and reached and max_staleness_s is None:
            return
        await self._admitted(level, self._wait_fresh(level, min_revision, max_staleness_s, at))

    async def _admitted(self, level: Level, wait: Coroutine[Any, Any, None]) -> None:
        if self._reads_open >= READS_PENDING_MAX:
            wait.close()
            raise Overloaded(f"{self._reads_open} reads are waiting already", read=True, level=level, retry_after_s=1.0)
        self._reads_open += 1
        try:
            await wait
        finally:
            self._reads_open -= 1

    async def _wait_fresh(
        self, level: Level, min_revision: int | None, max_staleness_s: float | None, at: float
    ) -> None:
        if level is Level.QUORUM or not self._acts_alone:
            await self._catch_up(at)
        else:
            await self._reach(self._applied_waits, self._serves_one_from, self._machine.applied_index, at)
            if max_staleness_s is not None:
                await self._freshness.wait(max_staleness_s, at)
        if min_revision is not None:
            await self._reach(self._revision_waits, min_revision, self._machine.revision, at)

    async def _catch_up(self, at: float) -> None:
        """Apply all that was acknowledged before now."""
        await self._reach(self._applied_waits, await self.reads.index(at), self._machine.applied_index, at)

    async def _reach(self, waits: AppliedWaits, wanted: int, present: int, at: float) -> None:
        if wanted <= present:
            return
        try:
            await waits.wait(self._site, wanted, at)
        except Expired:
            raise DeadlineExceeded("this node did not catch up in time", read=True) from None

    async def settings(self, *, timeout_s: float) -> tuple[int, dict[str, int]]:
        """The feature level and the replicated settings; see Store."""
        await self._catch_up(self._site.in_s(timeout_s))
        return self._machine.feature_level, dict(self._machine.settings)

    async def change_setting(self, name: str, value: int, *, timeout_s: float) -> None:
        """Change one of them; see Store."""
        await self._write(commands.set_setting(name, value), Level.QUORUM, timeout_s)

    # -- users and roles

    @property
    def auth(self) -> Auth:
        """Users and roles as this node has applied them."""
        return self._machine.auth

    def on_auth_changed(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `auth` has changed, before anything that comes behind it is answered."""
        self._auth_listeners.append(listener)

    async def auth_reached(self, auth_revision: int, *, timeout_s: float) -> None:
        """Wait until this node has applied that much of it; see AuthStore."""
        await self._reach(self._auth_waits, auth_revision, self.auth.revision, self._site.in_s(timeout_s))

    async def auth_now(self, *, timeout_s: float) -> Auth:
        """Users and roles with every change that was acknowledged before; see AuthStore."""
        await self._catch_up(self._site.in_s(timeout_s))
        return self._machine.auth

    async def change_auth(self, action: int, arguments: tuple[Any, ...], *, timeout_s: float) -> int:
        """Change users, roles or keys; see AuthStore."""
        written = await self._write(commands.auth(action, *arguments), Level.QUORUM, timeout_s)
        return written.result.revision

    # -- many at once (kvstore.node.batches)

    async def batch(self, ops: Sequence[BatchOp], *, timeout_s: float) -> list[BatchResult]:
        """Carry out all of `ops`; see Store."""
        return await carry_out(self, ops, self._site.in_s(timeout_s))

    async def write_batch(self, ops: Sequence[Op], level: Level, at: float) -> list[Written | KvError]:
        """Write at QUORUM or ALL, by loop time `at`; each with its result, or why it was refused."""
        told: list[Written | KvError] = []
        for op, written in zip(ops, await self._batched_writes.write(all_checked(ops), level, at), strict=True):
            refused: KvError | None = None
            if isinstance(written, Written):
                refused = refusal(written.result, level, self._site.engine.leader)
                if written.result.status == NOT_FOUND and commands.plain(op)[0] == commands.OP_DELETE:
                    refused = NotFound("the key is absent", level=level)
            told.append(refused or written)
        return told

    def enter_one(self, op: BatchOp) -> Coroutine[Any, Any, WriteAnswer]:
        """Take a write at ONE in; it is acknowledged when awaited. Raises KvError, at either moment."""
        _no_lease(op.lease)
        kind = commands.OP_PUT if op.kind == "put" else commands.OP_DELETE
        return self._acknowledged(op.key, self._enter_one(kind, op.key, op.value, op.condition, op.once))

    async def freshen_batch(self, level: Level, at: float) -> None:
        """Wait until the state is as fresh as `level` asks, by loop time `at`."""
        await self._freshen(level, None, None, at)

    # -- watches

    async def watch(self, key: bytes, *, prefix: bool, start: int | None, timeout_s: float) -> Watch:
        """Watch a key or a prefix; see Store."""
        if start is None:
            await self._freshen(Level.QUORUM, None, None, self._site.in_s(timeout_s))
            start = self._machine.revision + 1
        return self.watches.open(Watched(key, prefix), start)

    def end_watches(self) -> None:
        """End every watch; see Store."""
        self.watches.close()

    # -- the clock

    def stamp(self) -> Stamp:
        """The highest stamp that this node knows of."""
        return self._clock.highest()

    def heard(self, stamp: Stamp) -> None:
        """A client tells the highest stamp that it has seen; see Store."""
        self._clock.heard(stamp)


def _compacted(kept_from: NotKept) -> Compacted:
    return Compacted.at(kept_from.revision + 1, f"the oldest revision that can be read is {kept_from.revision}")


def _no_lease(lease: int) -> None:
    if lease != commands.NO_LEASE:
        raise BadRequest("a write at level one takes no lease: its node may not know whether it is there")


def _answer(key: bytes, level: Level, written: Written) -> WriteAnswer:
    result = written.result
    return WriteAnswer(key, result.revision, result.version, level, written.required, written.acked, "committed", None)

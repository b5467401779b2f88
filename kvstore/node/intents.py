"""The intent log: writes at level ONE that this node has acknowledged, whether the cluster has them already or not.

It is a journal of its own (checksums, group commit, preallocated room, torn tails: `kvstore.consensus.journal`), and
nothing durable is ever truncated in it. A write is acknowledged once its record is synced; all that arrive in one turn
of the loop share a sync. Its position is its index in that journal.

An intent belongs to an *epoch*, a number made at each start of the process, and has a sequence in it. The cluster
applies the intents of one epoch in their order, and each once (rules O1 to O5 of `kvstore.state.origins`). An epoch is
a rising counter with 32 random bits behind it: the counter tells this node which of two came first, the random bits
make it no other node's, nor that of a copy of this directory.

An intent is dropped here only when the state that this node itself has applied covers it (`settle`), and from the disk
only when a restart would find it applied: until then it would be missing from what this node shows.

**A copy of the directory** that was started elsewhere, or put back from a backup, shows as an epoch in the state that
is higher than any of this log. Then what was acknowledged since the start gets a new, higher epoch (`_move_on`);
anything older was applied before that epoch began, or was never this copy's to forward.

Records: `[epoch, sequence, op]` with an operation of `commands.KIND_INTENTS`, or `[ms, counter, retired, 0]`: the
clock's value, because the records that held the last ones are about to be dropped, and whether this member has retired
(`retirement`), which a restart must not forget.
"""

import asyncio
import os
import random
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

import msgpack
import structlog

from kvstore import limits
from kvstore.consensus.journal import Journal, JournalFailed
from kvstore.consensus.segments import Segment, last_by_other_key
from kvstore.errors import CorruptData, IdempotencyConflict, Overloaded, StorageFull
from kvstore.model import command_shapes
from kvstore.model.commands import OP_PUT, Op, op_bytes, request_digest
from kvstore.model.stamp import Stamp
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.overlay import Overlay, Pending
from kvstore.state.machine import Machine

log = structlog.get_logger()

DIRECTORY: Final = "intents"
_RANDOM_BITS: Final = 32
_SETTLED_MAX: Final = 1_024


class Intent(NamedTuple):
    """One acknowledged write: its place in this log, its name in the cluster, and what it does."""

    position: int
    epoch: int
    sequence: int
    op: Op
    stamp: Stamp

    @property
    def once(self) -> bytes | None:
        """Its idempotency key."""
        once: bytes | None = self.op[-1]
        return once


class IntentLog:
    """All calls on the event loop. `on_failure` is told when nothing can be written any more."""

    def __init__(
        self,
        *,
        journal: Journal,
        node: str,
        incarnation: int,
        rng: random.Random,
        loop: asyncio.AbstractEventLoop,
        clock: HybridClock,
        machine: Callable[[], Machine],
        wake: Callable[[], None],
        on_failure: Callable[[Exception], None],
        monotonic: Callable[[], float] = lambda: 0.0,
        synced: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`machine` is the state that this node has applied, asked for each time: a snapshot may replace it. `wake` is
        called whenever there is more to forward, `synced` told the seconds of each sync. Raises CorruptData.
        """
        self._journal = journal
        self._node = node
        self._term = incarnation
        self._rng = rng
        self._loop = loop
        self._clock = clock
        self._machine = machine
        self._wake = wake
        self._on_failure = on_failure
        self._monotonic = monotonic
        self._synced = synced
        self.overlay = Overlay()
        self._pending: deque[Intent] = deque()
        self._bytes = 0
        self._unsynced: list[tuple[Intent, asyncio.Future[Intent]]] = []
        self._by_once: dict[bytes, Intent] = {}
        self._spans: dict[int, tuple[int, int]] = {}  # epoch -> (first, last sequence that is pending)
        self._moved: dict[tuple[int, int], tuple[int, int]] = {}
        self._dropped_bytes = 0
        self.retired = False
        self.drained_position = self._durable_position = max(journal.commit_index, journal.entries[0][1])
        # (log index applied, position settled by then), until a restart would find that index applied too.
        self._settled: deque[tuple[int, int]] = deque()
        highest = self._recover()
        self.epoch = self._new_epoch(max(highest, machine().mark(node)[0]), incarnation)
        self._first_own_epoch = self.epoch
        self._sequence = 0

    def _recover(self) -> int:
        """Take back what the journal holds; the highest epoch in it."""
        highest = 0
        for command, position, _ in self._journal.entries[1:]:
            epoch, sequence, op, ms, counter = _read_record(command, position)
            if op is None:
                self.retired = bool(sequence)
            highest = max(highest, epoch)
            self._clock.resume(ms, counter)
            if op is not None and position > self.drained_position:
                self._take(Intent(position, epoch, sequence, op, Stamp(ms, counter, self._node, sequence)))
        return highest

    def _new_epoch(self, above: int, incarnation: int = 0) -> int:
        counter = max(incarnation, (above >> _RANDOM_BITS) + 1)
        return counter << _RANDOM_BITS | self._rng.getrandbits(_RANDOM_BITS)

    # -- taking in

    def __len__(self) -> int:
        return len(self._pending) + len(self._unsynced)

    @property
    def oldest(self) -> Intent | None:
        """The write that has been pending longest."""
        return self._pending[0] if self._pending else None

    @property
    def last_position(self) -> int:
        """Where the last write lies that is acknowledged and not settled; where the last one lay if there is none."""
        return self._pending[-1].position if self._pending else self.drained_position

    async def add(self, kind: int, key: bytes, value: bytes, once: bytes | None) -> Intent:
        """Make a write durable here. Raises Overloaded, StorageFull, IdempotencyConflict: nothing was kept."""
        return await self.enter(kind, key, value, once)

    def enter(self, kind: int, key: bytes, value: bytes, once: bytes | None) -> "asyncio.Future[Intent]":
        """Take a write in; the future is done once it is durable. Both may raise what `add` raises."""
        if once is not None and (known := self._by_once.get(once)) is not None:
            done: asyncio.Future[Intent] = self._loop.create_future()
            done.set_result(self._again(known, kind, key, value))
            return done
        if once is not None and self._machine().intent_keys_full:
            raise Overloaded("too many idempotency keys of writes at level one are remembered", retry_after_s=5.0)
        return self._line_up(kind, key, value, once)

    def _again(self, known: Intent, kind: int, key: bytes, value: bytes) -> Intent:
        op = known.op
        before = request_digest(op[0], op[1], op[2] if op[0] == OP_PUT else b"", None)
        if before != request_digest(kind, key, value, None):
            raise IdempotencyConflict("this idempotency key belongs to another request")
        return known

    def _line_up(self, kind: int, key: bytes, value: bytes, once: bytes | None) -> "asyncio.Future[Intent]":
        size = limits.INTENT_OVERHEAD_BYTES + len(key) + len(value)
        if len(self) >= limits.INTENTS_PENDING_MAX or self._bytes + size > limits.INTENTS_PENDING_BYTES_MAX:
            raise Overloaded(f"{len(self)} writes at level one wait for a leader already", retry_after_s=1.0)
        if not self._journal.room(size):
            raise StorageFull("this node has no room on disk for another write at level one")
        sequence = self._sequence + 1
        stamp = self._clock.next(sequence)
        if kind == OP_PUT:
            op: Op = (kind, key, value, stamp.ms, stamp.counter, once)
        else:
            op = (kind, key, stamp.ms, stamp.counter, once)
        intent = Intent(self._journal.entries[-1][1] + 1, self.epoch, sequence, op, stamp)
        self._journal.append(msgpack.packb((self.epoch, sequence, op)), intent.position, self._term)
        self._sequence = sequence
        future: asyncio.Future[Intent] = self._loop.create_future()
        if not self._unsynced:
            self._loop.call_soon(self._sync)
        self._unsynced.append((intent, future))
        self._bytes += op_bytes(op)
        return future

    def _sync(self, *, reserve: bool = False) -> None:
        """Make all that has arrived durable, then tell who waits. `reserve`: even by the last room on the disk."""
        unsynced, self._unsynced = self._unsynced, []
        if not unsynced:
            return
        began = self._monotonic()
        try:
            self._journal.sync(reserve=reserve)
        except StorageFull as full:
            self._take_back(unsynced, full)
            if reserve:
                self._on_failure(full)
            return
        except JournalFailed as failed:
            for _, future in unsynced:
                future.cancel()  # nothing is known of them, and the node is about to stop
            self._on_failure(failed)
            return
        self._synced(self._monotonic() - began)
        for intent, future in unsynced:
            self._bytes -= op_bytes(intent.op)
            self._take(intent)
            if not future.done():
                future.set_result(intent)
        self._wake()

    def _take_back(self, unsynced: list[tuple[Intent, "asyncio.Future[Intent]"]], full: StorageFull) -> None:
        """There was less room than had been promised: none of these was written."""
        self._journal.truncate(unsynced[0][0].position)
        self._sequence = unsynced[0][0].sequence - 1
        for intent, future in unsynced:
            self._bytes -= op_bytes(intent.op)
            if not future.done():
                future.set_exception(StorageFull(full.detail))

    def _take(self, intent: Intent) -> None:
        self._pending.append(intent)
        self._bytes += op_bytes(intent.op)
        first, _ = self._spans.get(intent.epoch, (intent.sequence, 0))
        self._spans[intent.epoch] = (first, intent.sequence)
        op, once = intent.op, intent.once
        self.overlay.add(op[1], Pending(intent.position, intent.stamp, op[2] if op[0] == OP_PUT else None, once))
        if once is not None:
            self._by_once[once] = intent

    # -- handing over

    def batch(self) -> list[Intent]:
        """The next intents to forward: of one epoch, in order, bounded."""
        taken: list[Intent] = []
        size = 0
        for intent in islice(self._pending, limits.ENTRY_OPS_MAX):
            size += op_bytes(intent.op)
            if taken and (intent.epoch != taken[0].epoch or size > limits.INTENTS_BATCH_BYTES_MAX):
                break
            taken.append(intent)
        return taken

    @property
    def unsettled(self) -> bool:
        """Whether `settle` has anything to do: writes that are pending, or settled but not for good."""
        return bool(self._pending or self._unsynced or self._settled)

    def settle(self, applied_index: int, durable_index: int) -> None:
        """This node has applied the log up to `applied_index`, and a restart would find it applied up to
        `durable_index`.
        """
        epoch, mark = self._machine().mark(self._node)
        if epoch > self.epoch:
            self._move_on(epoch, since=self._first_own_epoch)
        pending, before = self._pending, self.drained_position
        while pending and (pending[0].epoch < epoch or (pending[0].epoch == epoch and pending[0].sequence <= mark)):
            self._drop(pending.popleft())
        if self.drained_position > before:
            if len(self._settled) >= _SETTLED_MAX:
                self._settled.pop()
            self._settled.append((applied_index, self.drained_position))
        while self._settled and self._settled[0][0] <= durable_index:
            self._durable_position = self._settled.popleft()[1]
        self._journal.set_commit(self._durable_position)
        if self._dropped_bytes > limits.INTENT_SEGMENT_BYTES and not self._unsynced:
            self._compact()

    def forgotten(self) -> None:
        """The cluster knows nothing of this node any more (rule O5): what is pending gets a new beginning."""
        if self._pending and self._pending[0].sequence > 1:
            self._move_on(self.epoch, since=0)

    def _drop(self, intent: Intent) -> None:
        self.drained_position = intent.position
        self._bytes -= op_bytes(intent.op)
        self._dropped_bytes += op_bytes(intent.op)
        self.overlay.remove(intent.op[1], intent.position)
        if intent.once is not None and self._by_once.get(intent.once) is intent:
            del self._by_once[intent.once]
        last = self._spans[intent.epoch][1]
        if intent.sequence == last:
            del self._spans[intent.epoch]
        else:
            self._spans[intent.epoch] = (intent.sequence + 1, last)

    def _compact(self) -> None:
        """Drop what is not needed any more from disk and memory, but never the clock's last value."""
        self._dropped_bytes = 0
        if not self._journal.room(limits.INTENT_OVERHEAD_BYTES):
            return
        try:
            self._note()
            self._journal.compact(self._durable_position, 0)
        except JournalFailed as failed:
            self._on_failure(failed)

    def _note(self) -> None:
        """Write down what is no intent: the clock, and whether this member has retired. Raises StorageFull, with
        nothing written, and JournalFailed.
        """
        highest = self._clock.highest()
        record = msgpack.packb((highest.ms, highest.counter, int(self.retired), 0))
        position = self._journal.entries[-1][1] + 1
        self._journal.append(record, position, self._term)
        try:
            self._journal.sync(reserve=True)
        except StorageFull:
            self._journal.truncate(position)
            raise

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The files of the log, oldest first."""
        return self._journal.segments

    def renew(self, key_id: int) -> None:
        """Go on in a file by this key, the active one, and drop others that hold nothing that is needed any more.
        Raises StorageFull and JournalFailed.
        """
        self._journal.renew()
        behind = last_by_other_key(self._journal.segments, key_id)
        if behind and not self._unsynced and (self._durable_position >= behind or not self.unsettled):
            self._durable_position = max(self._durable_position, behind)
            self._journal.set_commit(self._durable_position)
            self._note()  # of the clock, which may stand nowhere else
            self._journal.compact(behind, 0)

    def retire(self, retired: bool) -> None:
        """Durably: take no more writes, or take them again. Raises StorageFull and JournalFailed."""
        if retired != self.retired:
            self._sync()
            self.retired = retired
            self._note()

    def _move_on(self, above: int, since: int) -> None:
        """Go on in an epoch above `above` with what is pending of the epochs from `since` on, and was not applied. Of
        older ones everything was applied, or was never this copy's to forward.
        """
        self._sync()
        applied = self._machine().intent_result
        own = [
            intent
            for intent in self._pending
            if intent.epoch >= since and applied(self._node, intent.epoch, intent.sequence) is None
        ]
        log.error("writes_get_a_new_epoch", above=f"{above:x}", mine=f"{self.epoch:x}", moved=len(own))
        self.epoch = self._first_own_epoch = self._new_epoch(above)
        self._sequence = 0
        for intent in own:
            self._sequence += 1
            position = self._journal.entries[-1][1] + 1
            moved = Intent(
                position, self.epoch, self._sequence, intent.op, intent.stamp._replace(sequence=self._sequence)
            )
            self._journal.append(msgpack.packb((self.epoch, self._sequence, intent.op)), position, self._term)
            self._moved[intent.epoch, intent.sequence] = (self.epoch, self._sequence)
            self._unsynced.append((moved, self._loop.create_future()))
            self._bytes += op_bytes(moved.op)
        self._sync(reserve=True)
        while self._pending and self._pending[0].epoch != self.epoch:
            self._drop(self._pending.popleft())
        while len(self._moved) > limits.INTENTS_PENDING_MAX:
            del self._moved[next(iter(self._moved))]

    # -- receipts

    def is_pending(self, epoch: int, sequence: int) -> bool:
        """Whether this intent was acknowledged here and is not applied here yet."""
        first, last = self._spans.get(epoch, (1, 0))
        return first <= sequence <= last

    def present_name(self, epoch: int, sequence: int) -> tuple[int, int]:
        """The name that an intent goes by now: another one if it had to be moved."""
        name = (epoch, sequence)
        while (moved := self._moved.get(name)) is not None:
            name = moved
        return name

    def close(self) -> None:
        """Release the files."""
        self._journal.close()


def unapplied(journal: Journal, machine: Machine, node: str) -> int:
    """How many writes in the log of `node` the state does not have yet. Raises CorruptData."""
    epoch, mark = machine.mark(node)
    found = (_read_record(command, position) for command, position, _ in journal.entries[1:])
    return sum(1 for record in found if record[2] is not None and record[:2] > (epoch, mark))


def _read_record(command: bytes, position: int) -> tuple[int, int, Op | None, int, int]:
    try:
        return _read(command)
    except (ValueError, TypeError, msgpack.UnpackException) as broken:
        raise CorruptData(
            os.path.join(DIRECTORY, f"record {position}"),
            0,
            f"a write at level ONE of a form that this build does not know ({broken})",
            "Start the version that wrote it, and let it hand its writes over first.",
        ) from broken


def _read(command: bytes) -> tuple[int, int, Op | None, int, int]:
    """Epoch, sequence and operation of a record, and the clock's value in it; one without an intent has no operation,
    and 1 as its sequence if the member had retired. Raises ValueError, TypeError or msgpack.UnpackException for
    anything else.
    """
    record = msgpack.unpackb(command, use_list=False)
    if len(record) == 4:
        ms, counter, retired, reserved = record
        epoch, sequence, op, clock = 0, retired, None, (ms, counter)
        if reserved != 0 or retired not in (0, 1):
            raise ValueError(f"{str(record)[:200]}")
    else:
        epoch, sequence, op = record
        if not (command_shapes.known_intent(op) and min(epoch, sequence) > 0):
            raise ValueError(f"{str(record)[:200]}")
        clock = op[-3:-1]
    numbers = (epoch, sequence, *clock)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"{str(record)[:200]}")
    return epoch, sequence, op, *clock

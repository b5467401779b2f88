"""What waits on a leader to be appended: clients' operations, put together into entries, and batches of intents.

Everything that arrived in one turn of the loop goes into one entry, in the order of arrival (a few entries, if it is
large). Each who waits is told the result of its own operation, at which index it was applied, and how many held it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from kvstore import limits, outcomes
from kvstore.consensus.engine import Engine, ProposalDone
from kvstore.errors import KvError
from kvstore.model import commands
from kvstore.model.commands import Op, Origin
from kvstore.model.results import OpResult
from kvstore.model.stamp import Stamp

_NO_ROOM = "a majority of the voters has no room on disk; deletes go on"


class Applied(NamedTuple):
    """An operation that was applied: its result, at which log index, and how many voters were known to hold it."""

    result: OpResult
    at_index: int
    acked: int


class NotProposed(Exception):
    """Leadership was lost before this was appended anywhere."""


class _Batch(NamedTuple):
    ops: list[Op]
    origin: Origin
    future: "asyncio.Future[tuple[list[OpResult], int]]"


class Proposals:
    """The leader's queue. Its bounds are kept by those who fill it (`Writes`, the intent logs)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: Engine,
        next_stamp: Callable[[], Stamp],
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float] = lambda: 0.0,
        committed: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`committed` is told, of each entry, the seconds from its being made to its being applied here."""
        self._loop = loop
        self._engine = engine
        self._next_stamp = next_stamp
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._committed = committed
        self._queue: dict[asyncio.Future[Applied], Op] = {}  # in the order of arrival
        self._batches: list[_Batch] = []

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, op: Op) -> "asyncio.Future[Applied]":
        """Let `op` be appended at the next step. The future may fail with NotProposed or a KvError."""
        future: asyncio.Future[Applied] = self._loop.create_future()
        self._queue[future] = op
        self._engine.kick()
        return future

    def add_intents(self, ops: list[Op], origin: Origin) -> "asyncio.Future[tuple[list[OpResult], int]]":
        """Likewise for a batch of intents, which gets this leader's wall clock; the future gives all results and the
        index.
        """
        future: asyncio.Future[tuple[list[OpResult], int]] = self._loop.create_future()
        self._batches.append(_Batch(ops, origin, future))
        self._engine.kick()
        return future

    def withdraw(self, future: "asyncio.Future[Applied]") -> bool:
        """Nobody waits for it any more. True if it has not been appended, so that it never will be."""
        return self._queue.pop(future, None) is not None

    def take(self, *, full: bool) -> list[tuple[bytes, ProposalDone]]:
        """Everything that waits, as commands of bounded size, or as much as one step may take.

        While storage is `full`, only what frees room goes through.
        """
        if full:
            self._refuse_what_needs_room()
        entries: list[tuple[bytes, ProposalDone]] = []
        together: list[tuple[asyncio.Future[Applied], Op]] = []
        size = taken = 0
        for future, op in list(self._queue.items()):
            op_size = commands.op_bytes(op)
            if taken and taken + op_size > limits.STEP_BYTES_MAX:
                self._engine.kick()
                break
            if together and (size + op_size > limits.ENTRY_BYTES_MAX or len(together) >= limits.ENTRY_OPS_MAX):
                entries.append(self._entry(together))
                together, size = [], 0
            together.append((future, op))
            size += op_size
            taken += op_size
        if together:
            entries.append(self._entry(together))
        batches, self._batches = self._batches, []
        entries += [self._intents_entry(batch) for batch in batches if not batch.future.done()]
        return entries

    def _refuse_what_needs_room(self) -> None:
        refused: list[asyncio.Future[Any]] = [
            future for future, op in self._queue.items() if not commands.frees_room(op)
        ]
        for future in refused:
            del self._queue[future]
        refused += [batch.future for batch in self._batches]
        self._batches = []
        for future in refused:
            if not future.done():
                future.set_exception(outcomes.error(outcomes.STORAGE_FULL, _NO_ROOM))

    def _entry(self, together: list[tuple["asyncio.Future[Applied]", Op]]) -> tuple[bytes, ProposalDone]:
        for future, _ in together:
            del self._queue[future]
        began = self._monotonic()

        def done(results: Any, index: int, error: KvError | None) -> None:
            acked = self._engine.holders(index) if error is None else 0
            if error is None:
                self._committed(self._monotonic() - began)
            for place, (future, _) in enumerate(together):
                if future.done():
                    continue
                if error is not None:
                    # Each caller adds its own level and leader to the error, so each gets one of its own.
                    future.set_exception(type(error)(error.detail, outcome=error.outcome))
                else:
                    future.set_result(Applied(results[place], index, acked))

        return commands.encode([op for _, op in together], self._next_stamp()), done

    def _intents_entry(self, batch: _Batch) -> tuple[bytes, ProposalDone]:
        def done(results: Any, index: int, error: KvError | None) -> None:
            if batch.future.done():
                return
            if error is not None:
                batch.future.set_exception(error)
            else:
                batch.future.set_result((results, index))

        origin = batch.origin._replace(wall_ms=self._wall_ms())
        return commands.encode_intents(batch.ops, self._next_stamp(), origin), done

    def leadership_lost(self) -> None:
        """What was queued but not appended can go to the next leader."""
        futures: list[asyncio.Future[Any]] = [*self._queue, *(batch.future for batch in self._batches)]
        self._queue, self._batches = {}, []
        for future in futures:
            if not future.done():
                future.set_exception(NotProposed())

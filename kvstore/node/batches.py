"""A batch: operations that travel together. They are sorted by what they wait for, and each kind waits once.

Writes at QUORUM and at ALL go to the log as lists (`batched_writes`). Those at ONE are written into the intent log in
one turn, and share its fsync. Reads at QUORUM share one ReadIndex round. Only reads at ALL are made one by one, a few
at a time: each of them asks every voter.

All of this happens at once. So a get of a batch may or may not see a put of the same batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from kvstore import limits
from kvstore.errors import KvError, NotFound, TooLarge
from kvstore.model import commands
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import ReadAnswer, WriteAnswer
from kvstore.node.writes import Written

_Places = list[int]


class BatchStore(Protocol):
    """What a batch needs of its node."""

    async def write_batch(self, ops: Sequence[Op], level: Level, at: float) -> list[Written | KvError]:
        """Writes at QUORUM or ALL, each with its result, or why it was refused."""

    def enter_one(self, op: BatchOp) -> Awaitable[WriteAnswer]:
        """A write at ONE: taken in when called, acknowledged when awaited. Raises KvError, at either moment."""

    async def freshen_batch(self, level: Level, at: float) -> None:
        """Wait until the state is as fresh as `level` asks."""

    def read_now(self, key: bytes, level: Level) -> ReadAnswer:
        """What the state holds now."""

    async def read_all(self, key: bytes, at: float) -> ReadAnswer:
        """A read at ALL."""


class _Room:
    """How many bytes of values one answer may still take."""

    def __init__(self) -> None:
        self._left = limits.BATCH_VALUES_BYTES_MAX

    def result(self, answer: ReadAnswer, level: Level) -> BatchResult:
        record = answer.record
        if record is None:
            return NotFound("the key is absent", read=True, level=level, leader=answer.leader)
        if len(record.value) > self._left:
            return TooLarge(
                f"the values of a batch have {limits.BATCH_VALUES_BYTES_MAX:,} bytes at most; read this one alone",
                read=True,
                level=level,
            )
        self._left -= len(record.value)
        return record


class _Kind(NamedTuple):
    read: bool
    level: Level


async def carry_out(store: BatchStore, ops: Sequence[BatchOp], at: float) -> list[BatchResult]:
    """The results of `ops`, in their order, by loop time `at`."""
    results: list[BatchResult | None] = [None] * len(ops)
    kinds: dict[_Kind, _Places] = {}
    for place, op in enumerate(ops):
        kinds.setdefault(_Kind(op.kind == "get", op.level), []).append(place)
    room = _Room()
    work = [_WORK[kind](store, ops, places, results, room, at) for kind, places in kinds.items()]
    if len(work) == 1:
        await work[0]
    else:
        await asyncio.gather(*work)
    assert None not in results
    return results  # type: ignore[return-value]


_Results = list[BatchResult | None]


async def _write(
    store: BatchStore, ops: Sequence[BatchOp], places: _Places, results: _Results, _room: _Room, at: float
) -> None:
    level = ops[places[0]].level
    made = [_command(ops[place]) for place in places]
    for place, written in zip(places, await store.write_batch(made, level, at), strict=True):
        if isinstance(written, KvError):
            results[place] = written
        else:
            result = written.result
            results[place] = WriteAnswer(
                ops[place].key,
                result.revision,
                result.version,
                level,
                written.required,
                written.acked,
                "committed",
                None,
            )


async def _write_one(
    store: BatchStore, ops: Sequence[BatchOp], places: _Places, results: _Results, _room: _Room, _at: float
) -> None:
    entered: list[tuple[int, Awaitable[WriteAnswer]]] = []
    for place in places:
        try:
            entered.append((place, store.enter_one(ops[place])))
        except KvError as refused:
            results[place] = refused
    for place, answer in entered:
        try:
            results[place] = await answer
        except KvError as refused:
            results[place] = refused


async def _read(
    store: BatchStore, ops: Sequence[BatchOp], places: _Places, results: _Results, room: _Room, at: float
) -> None:
    level = ops[places[0]].level
    try:
        await store.freshen_batch(level, at)
    except KvError as late:
        for place in places:
            results[place] = late
        return
    for place in places:
        results[place] = room.result(store.read_now(ops[place].key, level), level)


async def _read_all(
    store: BatchStore, ops: Sequence[BatchOp], places: _Places, results: _Results, room: _Room, at: float
) -> None:
    left: Iterator[int] = iter(places)

    async def some() -> None:
        for place in left:
            try:
                results[place] = room.result(await store.read_all(ops[place].key, at), Level.ALL)
            except KvError as refused:
                results[place] = refused

    await asyncio.gather(*(some() for _ in range(min(len(places), limits.BATCH_ALL_READS_MAX))))


def _command(op: BatchOp) -> Op:
    if op.kind == "put":
        return commands.put(op.key, op.value, op.condition, op.once, op.lease)
    return commands.delete(op.key, op.condition, op.once)


_Work = Callable[[BatchStore, Sequence[BatchOp], _Places, _Results, _Room, float], Awaitable[None]]

_WORK: Final[dict[_Kind, _Work]] = {
    _Kind(False, Level.ONE): _write_one,
    _Kind(False, Level.QUORUM): _write,
    _Kind(False, Level.ALL): _write,
    _Kind(True, Level.ONE): _read,
    _Kind(True, Level.QUORUM): _read,
    _Kind(True, Level.ALL): _read_all,
}

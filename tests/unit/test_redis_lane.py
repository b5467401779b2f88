"""What connections ask for in one turn goes to the node together, and nobody's writes are taken apart."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from kvstore import limits
from kvstore.errors import KvError, NoQuorum
from kvstore.model import commands
from kvstore.model.batches import BatchOp
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import OpResult, WriteAnswer
from kvstore.node.writes import Written
from kvstore.redis import lane
from kvstore.redis.lane import Lane
from kvstore.telemetry.metrics import Metrics, RedisMeter


class Node:
    """Notes what it is asked, and answers at once."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.fails: Exception | None = None

    async def freshen_batch(self, level: Level, at: float) -> None:
        self.asked.append(level)
        if self.fails is not None:
            raise self.fails

    async def write_batch(self, ops: Sequence[Op], level: Level, at: float) -> list[Written | KvError]:
        self.asked.append((level, list(ops)))
        if self.fails is not None:
            raise self.fails
        return [Written(OpResult(0, place, 1), 2, 2) for place, _ in enumerate(ops)]

    def enter_one(self, op: BatchOp) -> Any:
        self.asked.append(op)
        if op.key == b"refused":
            raise NoQuorum("no")

        async def answer() -> WriteAnswer:
            return WriteAnswer(op.key, None, None, Level.ONE, 1, 1, "pending", f"receipt of {op.key!r}")

        return answer()


def house() -> tuple[Node, Lane]:
    node = Node()
    gate = SimpleNamespace(enabled=False)
    return node, Lane(node, asyncio.get_running_loop(), RedisMeter(Metrics()), gate)  # type: ignore[arg-type]


def puts(*keys: bytes) -> list[Op]:
    return [commands.put(key, b"v") for key in keys]


async def test_one_turn_is_one_question_for_each_level() -> None:
    node, shared = house()
    await asyncio.gather(
        *(shared.freshened(Level.QUORUM) for _ in range(5)),
        *(shared.freshened(Level.ONE) for _ in range(3)),
        *(shared.written(Level.QUORUM, puts(b"%d" % number), 40) for number in range(4)),
        shared.written(Level.ALL, puts(b"a"), 40),
    )
    assert sorted(map(str, node.asked)) == sorted(
        map(
            str,
            [
                Level.QUORUM,
                Level.ONE,
                (Level.QUORUM, puts(b"0", b"1", b"2", b"3")),
                (Level.ALL, puts(b"a")),
            ],
        )
    )


async def test_each_is_told_what_became_of_its_own() -> None:
    _, shared = house()
    first, second = await asyncio.gather(
        shared.written(Level.QUORUM, puts(b"a", b"b"), 80), shared.written(Level.QUORUM, puts(b"c"), 40)
    )
    assert [fate.result.revision for fate in first + second] == [0, 1, 2]  # type: ignore[union-attr]


async def test_writes_at_level_one_have_their_receipts() -> None:
    node, shared = house()
    fates = await shared.written(Level.ONE, [*puts(b"a", b"refused"), commands.delete(b"b")], 100)
    assert fates[0].receipt == "receipt of b'a'"  # type: ignore[union-attr]
    assert isinstance(fates[1], NoQuorum)
    assert fates[2].receipt == "receipt of b'b'"  # type: ignore[union-attr]
    assert [op.kind for op in node.asked] == ["put", "put", "delete"]


@pytest.mark.parametrize("size", [40, 300_000, limits.BATCH_PART_BYTES_MAX + 100])
def test_no_run_is_cut(size: int) -> None:
    runs = [lane._Run(puts(*[b"k"] * count), size, lambda fates: None) for count in (1, 128, 128, 5, 100, 128) * 4]
    parts = lane._parts(runs)
    assert [run for part in parts for run in part] == runs
    for part in parts:
        assert sum(len(run.ops) for run in part) <= limits.BATCH_PART_OPS_MAX
        assert len(part) == 1 or sum(run.size for run in part) <= limits.BATCH_PART_BYTES_MAX
    if size == 40:
        assert len(parts) < len(runs) / 4


async def test_a_fault_is_an_unknown_outcome_of_writes_and_none_of_reads() -> None:
    node, shared = house()
    node.fails = RuntimeError("a fault")
    with capture_logs():
        (fate,) = await shared.written(Level.QUORUM, puts(b"a"), 40)
        assert isinstance(fate, KvError)
        assert fate.outcome == "unknown"
        with pytest.raises(KvError) as failed:
            await shared.freshened(Level.QUORUM)
        assert failed.value.outcome is None


async def test_a_fault_of_one_connection_does_not_keep_the_others_waiting() -> None:
    _, shared = house()

    def fault(_: object) -> None:
        raise RuntimeError("a fault")

    with capture_logs() as logged:
        shared.fresh(Level.QUORUM, fault)
        shared.write(Level.QUORUM, puts(b"a"), 40, fault)
        await asyncio.gather(shared.freshened(Level.QUORUM), shared.written(Level.QUORUM, puts(b"b"), 40))
    assert [each["event"] for each in logged] == ["redis_answer_failed"] * 2

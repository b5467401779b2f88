"""What changes several keys at one revision, and what cuts the history: transactions, range deletes, compaction."""

from collections.abc import Awaitable, Callable

from kvstore.model import commands
from kvstore.model.commands import Once, Op
from kvstore.model.levels import Level
from kvstore.model.results import RangeDeleted, TxnAnswer
from kvstore.model.transactions import unpacked
from kvstore.node.writes import Written

Write = Callable[[Op, Level, float], Awaitable[Written]]
"""(operation, level, seconds) -> what was written. Raises KvError, also for what the state machine refused."""


class Transactions:
    """See kvstore.http.store.TransactionStore."""

    def __init__(self, write: Write) -> None:
        self._write = write

    async def transact(self, op: Op, *, level: Level, timeout_s: float) -> TxnAnswer:
        """Carry out a transaction, an operation made by `kvstore.model.transactions`."""
        written = await self._write(op, level, timeout_s)
        result = written.result
        succeeded, answers = unpacked(result.detail)
        return TxnAnswer(succeeded, result.revision, level, written.required, written.acked, answers)

    async def delete_range(
        self, start: bytes, end: bytes | None, *, level: Level, once: Once | None, timeout_s: float
    ) -> RangeDeleted:
        """Delete all keys of a range."""
        written = await self._write(commands.delete_range(start, end, once), level, timeout_s)
        result = written.result
        return RangeDeleted(result.version, result.revision, level, written.required, written.acked)

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        """Forget the history up to `revision`."""
        await self._write(commands.compact(revision), Level.QUORUM, timeout_s)

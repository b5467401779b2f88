"""Commands whose writes depend on what they read, carried out by transactions that compare.

1. The commands are computed on this node's applied state. It may be behind; the comparisons will tell.
2. If they change something, all of it is written in one transaction that holds only if every key that they read has
   the mod_revision that it had. If it does not hold, they are computed anew on a state that is fresh: a bounded number
   of times. A write whose outcome is unknown is never made again.
3. If they change nothing, the reply must be of a state as fresh as the level asks: it is computed once more on one,
   unless it was.

So one round through the log is enough where nobody else changes the key. Calls of this node's clients on one key wait
for each other, and those that wait together are computed one on top of the other and written once (`single`). Where
they keep coming, they pause now and then for those of other nodes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from kvstore import limits
from kvstore.errors import AuthChanged, InternalError, KvError
from kvstore.model import commands, transactions
from kvstore.model.commands import NO_LEASE, OP_DELETE, OP_PUT, Op
from kvstore.model.levels import Level
from kvstore.model.results import Record
from kvstore.model.transactions import EQUAL, TARGET_MOD_REVISION
from kvstore.redis.lane import Lane
from kvstore.redis.leases import KeyLeases
from kvstore.redis.problems import CommandError, told, too_large
from kvstore.redis.replies import Reply
from kvstore.redis.store import Store
from kvstore.redis.turns import Turns
from kvstore.redis.view import Call, NewLease, Put, View

_log = structlog.get_logger("kvstore.redis")


class WatchLost(Exception):
    """A key that was watched has changed: nothing was applied."""


class Changes:
    """Carries out calls for all connections of the door."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, lane: Lane, leases: KeyLeases) -> None:
        self._store = store
        self._loop = loop
        self._lane = lane
        self._leases = leases
        self.turns = Turns(loop)
        self._waiting: dict[tuple[bytes, Level], deque[tuple[Call, asyncio.Future[Reply]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- reads

    async def fresh(self, level: Level, keys: Sequence[bytes]) -> None:
        """Wait until what this node has applied of `keys` is as fresh as `level` asks. Raises KvError."""
        if level is not Level.ALL:
            await self._lane.freshened(level)
            return
        at = self._loop.time() + limits.REDIS_COMMAND_S_MAX
        left = iter(dict.fromkeys(keys))

        async def some() -> None:
            for key in left:
                await self._store.read_all(key, at)

        await asyncio.gather(*(some() for _ in range(min(len(keys), limits.BATCH_ALL_READS_MAX))))

    async def read(self, call: Call, level: Level, keys: Sequence[bytes]) -> Reply:
        """The reply of a call that only reads `keys`. Raises KvError, CommandError."""
        await self.fresh(level, keys)
        if call.check is not None:
            call.check()
        return call.function(View(self._reader(level)), call.arguments)

    def _reader(self, level: Level) -> Callable[[bytes], Record | None]:
        store = self._store
        return lambda key: store.record_now(key, level)

    # -- writes

    async def single(self, key: bytes, call: Call, level: Level) -> Reply:
        """The reply of a call that reads and writes `key` only."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        queue = self._waiting.get((key, level))
        if queue is None:
            queue = self._waiting[key, level] = deque()
            task = self._loop.create_task(self._in_turn(key, level, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.append((call, future))
        return await future

    async def _in_turn(self, key: bytes, level: Level, queue: "deque[tuple[Call, asyncio.Future[Reply]]]") -> None:
        rounds = 0
        while queue:
            began_s = self._loop.time()
            together: list[tuple[Call, asyncio.Future[Reply]]] = []
            replies: list[Reply]
            try:
                async with self.turns.hold((key,)):
                    together = [queue.popleft() for _ in range(min(len(queue), limits.REDIS_COMBINED_CALLS_MAX))]
                    replies = await self.carry_out([call for call, _ in together], level, {})
            except Exception as failed:
                if not together:  # its turn did not come
                    together = [queue.popleft() for _ in range(len(queue))]
                replies = [_failed(failed)] * len(together)
            for (_, future), reply in zip(together, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
            rounds += 1
            if queue and rounds % limits.REDIS_ROUNDS_MAX == 0:
                # The leader's own clients would always be first, and those of other nodes always too late. So they are
                # left as much time as one round takes; no event tells that somebody there waits.
                await asyncio.sleep(min(self._loop.time() - began_s, limits.REDIS_ROUND_PAUSE_S_MAX))
        del self._waiting[key, level]

    async def several(
        self, keys: Sequence[bytes], calls: Sequence[Call], level: Level, watched: Mapping[bytes, int]
    ) -> list[Reply]:
        """The replies of calls that read and write `keys`, all at one revision, in the turn of all of them. Raises
        KvError, CommandError, WatchLost.
        """
        async with self.turns.hold(keys):
            return await self.carry_out(calls, level, watched)

    async def carry_out(self, calls: Sequence[Call], level: Level, watched: Mapping[bytes, int]) -> list[Reply]:
        """The same, whosever turn it is. `watched`: key -> the mod_revision that it must have."""
        if watched and level is Level.ONE:
            level = Level.QUORUM
        until = self._loop.time() + limits.REDIS_COMMAND_S_MAX
        granted: dict[bytes, tuple[int, int]] = {}
        try:
            for _ in range(limits.REDIS_ATTEMPTS_MAX):
                view, replies = self._compute(calls, level, watched)
                if not view.writes:
                    await self.fresh(level, [*view.reads, *watched])
                    view, replies = self._compute(calls, level, watched)
                    if not view.writes:
                        return replies
                at = self._lane.auth_revision if all(call.check is not None for call in calls) else 0
                await self._leases.granted(view.writes, granted)
                held = self._leases.held(view.writes)
                try:
                    if await self._write(view, level, watched, granted, at):
                        self._leases.written(view.writes, granted, held)
                        granted.clear()
                        return replies
                except AuthChanged:
                    await self._lane.auth_changed(at)
                if self._loop.time() >= until:
                    break
                await self._lane.freshened(Level.QUORUM)
        except KvError as failed:
            if failed.outcome != "not_applied":
                granted.clear()  # the keys are put with them, or may still be
            raise
        finally:
            self._leases.unused(granted)
        raise CommandError("other clients changed the same keys again and again; nothing was applied", "CONTENDED")

    def _compute(self, calls: Sequence[Call], level: Level, watched: Mapping[bytes, int]) -> tuple[View, list[Reply]]:
        read = self._reader(level)
        for key, revision in watched.items():
            record = read(key)
            if (0 if record is None else record.mod_revision) != revision:
                raise WatchLost
        view = View(read)
        replies: list[Reply] = []
        for call in calls:
            try:
                if call.check is not None:
                    call.check()
                replies.append(call.function(view, call.arguments))
            except CommandError as refused:
                replies.append(refused.reply)
        return view, replies

    async def _write(
        self, view: View, level: Level, watched: Mapping[bytes, int], granted: Mapping[bytes, tuple[int, int]], at: int
    ) -> bool:
        """Whether it was written; not if a comparison did not hold. `at`: the auth revision at which it was allowed, 0
        if nobody has checked it. Raises KvError, CommandError.
        """
        op = _operation(view.writes, {**watched, **view.reads}, granted)
        size = commands.op_bytes(op)
        result = await self._lane.one(level, op if level is Level.ONE else commands.checked(op, at), size)
        return op[0] == OP_PUT or transactions.unpacked(result.detail)[0]


def _operation(
    writes: Mapping[bytes, Put | None], compared: Mapping[bytes, int], granted: Mapping[bytes, tuple[int, int]]
) -> Op:
    steps: list[transactions.Step] = []
    for key, put in writes.items():
        if put is None:
            steps.append((OP_DELETE, key))
        else:
            lease = granted[key][0] if isinstance(put.lease, NewLease) else put.lease
            steps.append((OP_PUT, key, put.value, lease))
    if not compared and len(steps) == 1 and steps[0][0] == OP_PUT and steps[0][3] == NO_LEASE:
        return commands.put(steps[0][1], steps[0][2])
    count = len(steps) + len(compared)
    if count > limits.TXN_OPS_MAX:
        raise too_large(f"{count} keys to compare and to write at one revision; at most {limits.TXN_OPS_MAX}")
    comparisons = [(TARGET_MOD_REVISION, key, EQUAL, revision) for key, revision in compared.items()]
    op = transactions.transaction(comparisons, steps, ())
    if commands.op_bytes(op) > limits.REDIS_COMMAND_BYTES_MAX:
        raise too_large(f"a transaction has {limits.REDIS_COMMAND_BYTES_MAX:,} bytes at most")
    return op


def _failed(failed: Exception) -> Reply:
    """The reply that tells it."""
    if isinstance(failed, CommandError):
        return failed.reply
    if isinstance(failed, KvError):
        return told(failed)
    _log.error("redis_command_failed", exc_info=failed)
    return told(InternalError("the server failed; its log has more"))

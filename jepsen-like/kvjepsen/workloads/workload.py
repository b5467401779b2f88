"""What every workload is made of: clients that are each bound to one node, and a history in which all is recorded.

A client whose operation ends with an unknown outcome goes on as a new process. Nothing is asked twice but what has a
name by which the store knows it again (sessions, idempotency keys), so a history tells what users would see.
"""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from kvjepsen.access import OPEN, Access
from kvjepsen.checking.verdict import Result
from kvjepsen.records import ABSENT, FINAL, GONE, UNMET, History, Line, Recorder
from kvstore.client import AsyncClient, WriteResult
from kvstore.client.txn import TxnResult
from kvstore.errors import CannotConnect, KvError, LocalError, NotFound, PreconditionFailed
from kvstore.model.results import Record
from kvstore.redis.client import RedisClient

WRITE_S_MAX: Final = 2.0
READ_S_MAX: Final = 1.5
FINAL_S_MAX: Final = 20.0

_REFUSED_PAUSE_S: Final = 0.05
_IN_FLIGHT: Final = 16


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: its name, the promise in one sentence, and what came out."""

    name: str
    promise: str
    result: Result
    keys: Mapping[int, str | None]
    """The key of each operation that a finding may name, by its `i`."""


HTTP: Final = "http"
REDIS: Final = "redis"
DOORS: Final = (HTTP, REDIS)


class Arena:
    """What all workloads of a run share. `redis`: HOST:PORT of the Redis door of each node, where there are any.
    `doors`: those that are to be used. `access`: how clients get in. `unserved` counts operations that were refused or
    unanswered.
    """

    def __init__(
        self,
        recorder: Recorder,
        nodes: Mapping[str, str],
        seed: int,
        stop: asyncio.Event,
        *,
        redis: Mapping[str, str] | None = None,
        doors: Sequence[str] = (HTTP,),
        access: Access = OPEN,
    ) -> None:
        self.recorder = recorder
        self.nodes = dict(nodes)
        self.redis = dict(redis or {})
        self.doors = tuple(doors)
        self.access = access
        self.seed = seed
        self.stop = stop
        self.counts: Counter[str] = Counter()
        self.last_revision = 0
        self._processes = 0

    @property
    def unserved(self) -> int:
        """Operations that were refused, or whose outcome nobody knows."""
        return self.counts["refused"] + self.counts["info"]

    def new_process(self) -> int:
        """A number that no process had before."""
        self._processes += 1
        return self._processes - 1


class Worker:
    """One client of one node, with one operation at a time: over HTTP, or through `redis` if it has that."""

    def __init__(
        self,
        arena: Arena,
        name: str,
        node: str,
        client: AsyncClient,
        rng: random.Random,
        redis: RedisClient | None = None,
    ) -> None:
        self.arena = arena
        self.name = name
        self.node = node
        self.client = client
        self.rng = rng
        self.redis = redis
        self._process = arena.new_process()

    async def read(
        self, key: str, ask: Callable[[], Awaitable[Record | None]], show: Callable[[Record], Any], **more: Any
    ) -> Record | None:
        """A read of one key; None also where it failed: see `served`."""
        line = self._invoke("read", key, **more)
        record: Record | None = await self._served(line, ask)
        if self.served:
            if record is None:
                self._count(self.arena.recorder.ok(line))
            else:
                told = record.mod_revision or None
                version = None if told is None else record.version
                self._count(self.arena.recorder.ok(line, value=show(record), revision=told, version=version))
        return record

    async def look(self, key: str, ask: Callable[[], Awaitable[Any]], show: Callable[[Any], Any], **more: Any) -> Any:
        """A read of something that has no revision of its own: a set, a counter."""
        line = self._invoke("read", key, **more)
        found = await self._served(line, ask)
        if self.served:
            self._count(self.arena.recorder.ok(line, value=show(found)))
        return found

    async def write(
        self, f: str, key: str, value: Any, ask: Callable[[], Awaitable[WriteResult]], **more: Any
    ) -> WriteResult | None:
        """A write; None where it failed or nobody knows. One at level ONE is `accepted`, its receipt will tell."""
        self.line = line = self._invoke(f, key, value, **more)
        result: WriteResult | None = await self._served(line, ask)
        if result is not None:
            if result.revision is None:
                self.arena.recorder.info(line, "pending")
                self._count_as("accepted")
                self._process = self.arena.new_process()
            else:
                self.arena.last_revision = max(self.arena.last_revision, result.revision)
                self._count(self.arena.recorder.ok(line, revision=result.revision, version=result.version))
        return result

    async def change(
        self,
        f: str,
        key: str,
        value: Any,
        ask: Callable[[], Awaitable[Any]],
        show: Callable[[Any], Any] | None = None,
        **more: Any,
    ) -> None:
        """A write whose answer tells no revision. `show`: what the answer shows; else that is what was asked for."""
        line = self._invoke(f, key, value, **more)
        answer = await self._served(line, ask)
        if self.served:
            shown = {} if show is None else {"value": show(answer)}
            self._count(self.arena.recorder.ok(line, **shown))

    async def transact(
        self, f: str, key: str, value: Any, ask: Callable[[], Awaitable[TxnResult]], **more: Any
    ) -> TxnResult | None:
        """A transaction that changes something, if its comparisons hold; otherwise it fails as UNMET."""
        line = self._invoke(f, key, value, **more)
        done: TxnResult | None = await self._served(line, ask)
        if done is None:
            return None
        if not done.succeeded:
            self._count(self.arena.recorder.fail(line, UNMET))
            return done
        self.arena.last_revision = max(self.arena.last_revision, done.revision)
        self._count(self.arena.recorder.ok(line, revision=done.revision))
        return done

    async def keep_alive(self, key: str, lease: int, until_ns: int, timeout_s: float) -> bool | None:
        """Keep the lease of `key` alive, until then at least: False if it is gone, None if nobody knows."""
        line = self._invoke("keep", key, until_ns)
        kept = await self._served(line, lambda: self.client.keep_alive([lease], timeout_s=timeout_s))
        if kept is None:
            return None
        recorder, lives = self.arena.recorder, lease in kept.leases
        self._count(recorder.ok(line) if lives else recorder.fail(line, GONE))
        return lives

    def _invoke(self, f: str, key: str, value: Any = None, **more: Any) -> Line:
        self.served = False
        return self.arena.recorder.invoke(
            self._process, f, key=key, value=value, client=self.name, node=self.node, **more
        )

    async def _served(self, line: Line, ask: Callable[[], Awaitable[Any]]) -> Any:
        recorder = self.arena.recorder
        try:
            answer = await ask()
        except PreconditionFailed:
            self._count(recorder.fail(line, UNMET))
        except NotFound:
            self._count(recorder.fail(line, ABSENT))
        except (KvError, LocalError) as error:
            await self._unserved(line, error)
        else:
            self.served = True
            return answer
        return None

    async def _unserved(self, line: Line, error: KvError | LocalError) -> None:
        code = error.code if isinstance(error, KvError) else type(error).__name__
        applied_not = isinstance(error, CannotConnect) or (
            isinstance(error, KvError) and error.outcome == "not_applied"
        )
        recorder = self.arena.recorder
        if isinstance(error, KvError) and error.outcome == "committed":
            # At level ALL, late: it took effect, and promises no more than a write at QUORUM.
            self._count(recorder.ok(line, error=code))
        elif line.f == "read" or applied_not:
            recorder.fail(line, code)
            self._count_as("refused")
        else:
            self._count(recorder.info(line, code))
            self._process = self.arena.new_process()
        await asyncio.sleep(self.rng.uniform(0, 2 * _REFUSED_PAUSE_S))

    def _count(self, line: Line) -> None:
        self._count_as(line.type)

    def _count_as(self, what: str) -> None:
        self.arena.counts[what] += 1


class Workload(ABC):
    """Keys of its own, all below `name/`. `speaks`: the doors that it can use; `doors`: those that it does use, by
    turns.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    workers: ClassVar[int] = 8
    plain: ClassVar[bool] = False  # its operations are reads and writes of single keys
    writes_at_one: ClassVar[bool] = False
    speaks: ClassVar[tuple[str, ...]] = (HTTP,)

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        self.arena = arena
        self.doors = [door for door in arena.doors if door in self.speaks]
        self._pause_s = self.workers / rate_hz
        self._receipts: list[tuple[Line, str]] = []

    async def run(self) -> None:
        """Every worker, until `stop` is set; each finishes what it has under way."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._work(number))

    async def _work(self, number: int) -> None:
        names = list(self.arena.nodes)
        node = names[number % len(names)]
        rng = random.Random(f"{self.arena.seed}/{self.name}/{number}")
        # Shifted once all nodes have had their turn, so that each of them is asked through each door.
        door = self.doors[(number + number // len(names)) % len(self.doors)]
        async with AsyncExitStack() as stack:
            access = self.arena.access
            client = await stack.enter_async_context(access.client([self.arena.nodes[node]]))
            redis = await stack.enter_async_context(access.redis(self.arena.redis[node])) if door == REDIS else None
            worker = Worker(self.arena, f"{self.name}-{number}", node, client, rng, redis)
            while not self.arena.stop.is_set():
                await self.work(worker)
                await asyncio.sleep(rng.expovariate(1 / self._pause_s))

    def accepted(self, worker: Worker, result: WriteResult | None) -> None:
        """Remember what was only accepted: its receipt is asked in the end."""
        if result is not None and result.receipt is not None:
            self._receipts.append((worker.line, result.receipt))

    async def settle(self) -> None:
        """Once all nodes are up: what became of the writes at level ONE."""
        async with self.arena.access.client(list(self.arena.nodes.values()), timeout_s=FINAL_S_MAX) as client:
            for line, receipt in self._receipts:
                found = await client.wait_receipt(receipt, FINAL_S_MAX)
                if found.state == "committed":
                    self.arena.last_revision = max(self.arena.last_revision, found.revision or 0)
                    self.arena.recorder.ok(line, revision=found.revision)
                    self.arena.counts["receipts committed"] += 1
                elif found.state == "superseded":
                    self.arena.recorder.fail(line, "superseded")
                    self.arena.counts["receipts superseded"] += 1
                else:
                    self.arena.counts[f"receipts {found.state} {found.reason or ''}".strip()] += 1

    async def final(self) -> None:
        """Reads of all keys, at QUORUM and at ONE on every node, as client `final`.

        At QUORUM through both doors, if both are used: over HTTP on the first node, by Redis on the last.
        """
        nodes, keys = list(self.arena.nodes), list(self.keys())
        await self._final_at(nodes[0], "quorum", keys)
        if REDIS in self.doors:
            await self._final_by_redis(nodes[-1], "quorum")
        for node in nodes:
            if HTTP in self.doors:
                await self._final_at(node, "one", keys)
            else:
                await self._final_by_redis(node, "one")

    async def _final_at(self, node: str, level: str, keys: Sequence[str]) -> None:
        waiting = iter(keys)
        floor = self.arena.last_revision if level == "one" else None
        async with self.arena.access.client([self.arena.nodes[node]], timeout_s=FINAL_S_MAX) as client:

            async def some() -> None:
                worker = Worker(self.arena, FINAL, node, client, random.Random(0))
                for key in waiting:
                    await self.final_read(worker, key, level, floor)

            await asyncio.gather(*(some() for _ in range(_IN_FLIGHT)))

    async def _final_by_redis(self, node: str, level: str) -> None:
        async with (
            self.arena.access.client([self.arena.nodes[node]]) as client,
            self.arena.access.redis(self.arena.redis[node]) as redis,
        ):
            worker = Worker(self.arena, FINAL, node, client, random.Random(0), redis)
            for key in self.keys_by_redis():
                await self.final_read_by_redis(worker, key, level)

    async def final_read(self, worker: Worker, key: str, level: str, floor: int | None) -> None:
        """One read of one key, after everything is healed."""
        raw = key.encode()
        await worker.read(
            key,
            lambda: worker.client.get(raw, level=level, min_revision=floor),
            self.show,
            level=level,
            revision=floor,
        )

    async def final_read_by_redis(self, worker: Worker, key: str, level: str) -> None:
        """The same through the Redis door, by a workload that speaks it."""
        raise NotImplementedError

    def keys_by_redis(self) -> Iterable[str]:
        """The keys that the Redis door shows as they are meant."""
        return self.keys()

    def show(self, record: Record) -> Any:
        """What a record stands for in the history."""
        return json.loads(record.value)

    @abstractmethod
    def keys(self) -> Iterable[str]:
        """All keys that were used."""

    @abstractmethod
    async def work(self, worker: Worker) -> None:
        """One operation."""

    @staticmethod
    @abstractmethod
    def checks(history: History) -> list[Check]:
        """What must hold, of the part of the history that is this workload's."""


class Slots:
    """A few keys at a time, each replaced by a new one once it has had its operations."""

    def __init__(self, prefix: str, slots: int, ops_per_key: int) -> None:
        self._prefix = prefix
        self._ops_per_key = ops_per_key
        self._keys: list[str] = []
        self._used = [0] * slots
        self._open = [self._new() for _ in range(slots)]

    def _new(self) -> str:
        self._keys.append(f"{self._prefix}/{len(self._keys)}")
        return self._keys[-1]

    def take(self, rng: random.Random) -> str:
        """The key of the next operation."""
        slot = rng.randrange(len(self._open))
        if self._used[slot] >= self._ops_per_key:
            self._used[slot], self._open[slot] = 0, self._new()
        self._used[slot] += 1
        return self._open[slot]

    @property
    def keys(self) -> list[str]:
        """All that there were."""
        return list(self._keys)


def check_of(name: str, promise: str, result: Result, history: History) -> Check:
    """A check, with the keys of the operations that its findings name."""
    named = {i for finding in result.findings for i in finding.ops}
    return Check(name, promise, result, {op.i: op.key for op in history.operations if op.i in named})

"""A store of one process's memory, for tests of the HTTP door: real semantics, no consensus."""

import asyncio

from sortedcontainers import SortedDict

from kvstore.errors import NotFound, PreconditionFailed
from kvstore.model.commands import MUST_BE_ABSENT, MUST_EXIST
from kvstore.model.levels import Level
from kvstore.model.results import ClusterView, MemberView, RangeAnswer, ReadAnswer, Record, WriteAnswer
from kvstore.model.stamp import Stamp


class MemoryStore:
    """`fail` is raised by the next calls while it is set; `gate`, when set, holds writes until it opens."""

    name = "n1"

    def __init__(self) -> None:
        self.records: SortedDict[bytes, Record] = SortedDict()
        self.revision = 0
        self.fail: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.not_ready: str | None = None
        self.calls: list[tuple[object, ...]] = []

    async def put(
        self, key: bytes, value: bytes, *, level: Level, condition: int | None, timeout_s: float
    ) -> WriteAnswer:
        await self._enter("put", key, level, condition, timeout_s)
        before = self._check(key, condition)
        self.revision += 1
        created, version = (before.create_revision, before.version + 1) if before else (self.revision, 1)
        self.records[key] = Record(value, created, self.revision, version, 0, self.stamp())
        return self._written(key, version, level)

    async def delete(self, key: bytes, *, level: Level, condition: int | None, timeout_s: float) -> WriteAnswer:
        await self._enter("delete", key, level, condition, timeout_s)
        if self._check(key, condition) is None:
            raise NotFound("the key is absent", leader=self.name)
        self.revision += 1
        del self.records[key]
        return self._written(key, 0, level)

    async def get(self, key: bytes, *, level: Level, min_revision: int | None, timeout_s: float) -> ReadAnswer:
        await self._enter("get", key, level, min_revision, timeout_s)
        return ReadAnswer(self.records.get(key), self.revision, self.revision + 1, self.name, self.stamp())

    async def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        level: Level,
        limit: int,
        after: bytes | None,
        reverse: bool,
        timeout_s: float,
    ) -> RangeAnswer:
        await self._enter("range", start, end, level, limit, after, reverse, timeout_s)
        keys = [key for key in self.records if key >= start and (end is None or key < end)]
        count = len(keys)
        if reverse:
            keys.reverse()
        if after is not None:
            keys = [key for key in keys if (key < after if reverse else key > after)]
        page = keys[:limit]
        more = page[-1] if len(keys) > limit else None
        found = [(key, self.records[key]) for key in page]
        return RangeAnswer(self.revision, count, found, more, self.revision + 1, self.name, self.stamp())

    async def cluster(self) -> ClusterView:
        applied = self.revision + 1
        digest = {"index": applied, "value": 12_345}
        member = MemberView(
            "n1", "leader", True, True, "http://127.0.0.1:8480", "127.0.0.1:8481", applied, applied, 0, digest
        )
        return ClusterView("c1", "n1", "n1", 3, applied, self.revision, [member], [])

    def ready(self) -> str | None:
        return self.not_ready

    def stamp(self) -> Stamp:
        return Stamp(1_700_000_000_000, self.revision, self.name, 0)

    async def _enter(self, *call: object) -> None:
        self.calls.append(call)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail

    def _check(self, key: bytes, condition: int | None) -> Record | None:
        record = self.records.get(key)
        if condition is None:
            return record
        held = {MUST_BE_ABSENT: record is None, MUST_EXIST: record is not None}.get(
            condition, record is not None and record.mod_revision == condition
        )
        if not held:
            raise PreconditionFailed("the condition does not hold", leader=self.name)
        return record

    def _written(self, key: bytes, version: int, level: Level) -> WriteAnswer:
        return WriteAnswer(key, self.revision, version, level, 1, 1, "committed", None)

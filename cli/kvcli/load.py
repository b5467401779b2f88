"""The load of `kv bench`: clients that each do one operation after the other."""

import asyncio
import random
import secrets
import time
from array import array
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from kvstore.client import AsyncClient, BatchOp, Get, Put
from kvstore.errors import KvError, LocalError, NotFound

_OPERATIONS_MAX: Final = 10_000_000
_ERROR_PAUSE_S: Final = 0.02
_PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}


class Load:
    """One run. `latencies_s` holds the seconds of every call that succeeded, of one operation or `batch` of them."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        operation: str,
        level: str,
        clients: int,
        size: int,
        keys: int,
        seconds: float,
        timeout_s: float,
        batch: int = 1,
        *,
        automatic: bool = False,
    ) -> None:
        self.latencies_s = array("d")
        self.errors: Counter[str] = Counter()
        self.last_error: KvError | LocalError | None = None
        self._endpoints = endpoints
        self._operation = operation
        self._level = level
        # A cluster that is measured at level one may have no majority.
        self._setup_level = "one" if (operation, level) == ("put", "one") else "quorum"
        self._clients = clients
        self._seconds = seconds
        self._timeout_s = timeout_s
        self._batch = batch
        self._automatic = automatic
        self._took_s = 0.0
        self.left_behind: str | None = None
        self._stem = stem = f"bench/{secrets.token_hex(4)}/"
        self._keys = [f"{stem}{number}".encode() for number in range(keys)]
        # Random, so that nothing on the way can make it small.
        self._value = secrets.token_bytes(size)

    async def run(self) -> None:
        """Prepares the keys, measures, deletes the keys. Raises an error only when preparing fails."""
        async with AsyncExitStack() as stack:
            # One client for each endpoint, each with another first choice: the load spreads over the nodes.
            pool = [
                await stack.enter_async_context(
                    AsyncClient(
                        self._endpoints[i:] + self._endpoints[:i], timeout_s=self._timeout_s, batching=self._automatic
                    )
                )
                for i in range(len(self._endpoints))
            ]
            try:
                if self._operation == "get":
                    await self._each_key(pool, self._prepare)
                started = time.monotonic()
                until = started + self._seconds
                await asyncio.gather(*(self._work(pool[i % len(pool)], until) for i in range(self._clients)))
                self._took_s = time.monotonic() - started
            finally:
                await self._clean_up(pool)

    def to_json(self) -> dict[str, Any]:
        """The document of `-o json`."""
        import numpy

        calls = len(self.latencies_s)
        count = calls * self._batch
        values = numpy.percentile(self.latencies_s, list(_PERCENTILES.values())) * 1_000 if calls else None
        return {
            "operation": self._operation,
            "level": self._level,
            "clients": self._clients,
            "batch": self._batch,
            "automatic": self._automatic,
            "size_bytes": len(self._value),
            "keys": len(self._keys),
            "seconds": round(self._took_s, 3),
            "operations": count,
            "operations_per_second": round(count / self._took_s, 1) if self._took_s else 0.0,
            "latency_ms": {
                name: None if values is None else round(float(values[i]), 3) for i, name in enumerate(_PERCENTILES)
            },
            "errors": dict(self.errors),
        }

    async def _work(self, client: AsyncClient, until: float) -> None:
        keys, clock = self._keys, time.monotonic
        while (started := clock()) < until and len(self.latencies_s) < _OPERATIONS_MAX:
            key = random.choice(keys)
            try:
                if self._batch > 1:
                    await self._together(client)
                elif self._operation == "put":
                    await client.put(key, self._value, level=self._level)
                else:
                    await client.get_value(key, level=self._level)
            except (KvError, LocalError) as error:
                self.errors[error.code if isinstance(error, KvError) else type(error).__name__] += 1
                self.last_error = error
                await asyncio.sleep(_ERROR_PAUSE_S)
            else:
                self.latencies_s.append(clock() - started)

    async def _together(self, client: AsyncClient) -> None:
        """One batch. Raises the first error in it: only a batch of which all succeeded counts."""
        chosen = random.choices(self._keys, k=self._batch)
        ops: list[BatchOp] = (
            [Put(key, self._value, self._level) for key in chosen]
            if self._operation == "put"
            else [Get(key, self._level) for key in chosen]
        )
        for result in await client.batch(ops):
            if isinstance(result, (KvError, LocalError)):
                raise result

    async def _prepare(self, client: AsyncClient, key: bytes) -> None:
        await client.put(key, self._value, level=self._setup_level)

    async def _remove(self, client: AsyncClient, key: bytes) -> None:
        with suppress(NotFound):
            await client.delete(key, level=self._setup_level)

    async def _clean_up(self, pool: list[AsyncClient]) -> None:
        try:
            await self._each_key(pool, self._remove)
        except (KvError, LocalError):
            self.left_behind = self._stem

    async def _each_key(self, pool: list[AsyncClient], action: Any) -> None:
        pending = iter(self._keys)

        async def take(client: AsyncClient) -> None:
            for key in pending:
                await action(client, key)

        try:
            async with asyncio.TaskGroup() as group:
                for i in range(self._clients):
                    group.create_task(take(pool[i % len(pool)]))
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

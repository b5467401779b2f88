"""The HTTP door through the client library: one request for each operation, or one batch for each call."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from kvcli.bench.plan import Operation, Plan
from kvstore.client import AsyncClient, BatchOp, Get, Put
from kvstore.errors import KvError, LocalError


class HttpCaller:
    """One client of the library, for any number of clients of the plan."""

    def __init__(self, client: AsyncClient, level: str) -> None:
        self._client = client
        self._level = level

    async def put(self, key: bytes, value: bytes) -> None:
        await self._client.put(key, value, level=self._level)

    async def get(self, key: bytes) -> None:
        await self._client.get_value(key, level=self._level)

    async def batch(self, operations: Sequence[tuple[Operation, bytes]], value: bytes) -> list[KvError | LocalError]:
        """See Caller."""
        ops: list[BatchOp] = [
            Put(key, value, self._level) if operation == "put" else Get(key, self._level)
            for operation, key in operations
        ]
        return [result for result in await self._client.batch(ops) if isinstance(result, (KvError, LocalError))]


@asynccontextmanager
async def open_callers(plan: Plan, *, batching: bool = False) -> AsyncIterator[Sequence[HttpCaller]]:
    """One caller for each endpoint, each with another first choice: the load spreads over the nodes."""
    async with AsyncExitStack() as stack:
        callers = []
        for turn in range(len(plan.endpoints)):
            endpoints = plan.endpoints[turn:] + plan.endpoints[:turn]
            who = plan.who._asdict()
            client = AsyncClient(endpoints, timeout_s=plan.timeout_s, batching=batching, tls=plan.tls, **who)
            callers.append(HttpCaller(await stack.enter_async_context(client), plan.level))
        yield callers

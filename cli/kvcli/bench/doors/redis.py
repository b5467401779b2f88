"""The Redis door: a connection for each client of the plan; a command is an operation, a pipeline is a call."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from kvcli.bench.plan import Operation, Plan
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError
from kvstore.redis.client import Command, RedisClient


class RedisCaller:
    """One connection, for one client of the plan."""

    def __init__(self, client: RedisClient, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def put(self, key: bytes, value: bytes) -> None:
        await self._client.one(b"SET", key, value, timeout_s=self._timeout_s)

    async def get(self, key: bytes) -> None:
        await self._client.one(b"GET", key, timeout_s=self._timeout_s)

    async def batch(self, operations: Sequence[tuple[Operation, bytes]], value: bytes) -> list[KvError | LocalError]:
        """See Caller. A pipeline: they are carried out in order, and each is answered by itself."""
        commands = [(b"SET", key, value) if operation == "put" else (b"GET", key) for operation, key in operations]
        answers = await self._client.ask(*commands, timeout_s=self._timeout_s)
        return [answer for answer in answers if isinstance(answer, (KvError, LocalError))]


async def _login(plan: Plan) -> tuple[Command, ...]:
    """What each connection begins with where auth is enabled: a token, for passwords are too slow for hundreds."""
    token, user, password = plan.who
    if token is None and user is not None and password is not None:
        async with AsyncClient(plan.endpoints, timeout_s=plan.timeout_s, tls=plan.tls) as client:
            token, _ = await client.get_token(user, password)
    return () if token is None else ((b"AUTH", token.encode()),)


@asynccontextmanager
async def open_callers(plan: Plan) -> AsyncIterator[Sequence[RedisCaller]]:
    """One caller for each client, spread over the plan's Redis addresses; each connects at its first call."""
    async with AsyncExitStack() as stack:
        login = await _login(plan)
        callers = []
        for number in range(plan.clients):
            address = plan.redis_endpoints[number % len(plan.redis_endpoints)]
            # A server that is not of this store does not know it, and is not measured by mistake.
            client = RedisClient(address, *login, (b"KV.LEVEL", plan.level.encode()), tls=plan.tls)
            callers.append(RedisCaller(await stack.enter_async_context(client), plan.timeout_s))
        yield callers

"""The keys of a measurement: written before it, deleted after it."""

from collections.abc import Callable
from typing import Final

from kvcli.bench.plan import Plan
from kvstore.client import AsyncClient, BatchOp, Delete, Put
from kvstore.errors import KvError, LocalError, NotFound

_TOGETHER: Final = 512


async def prepare(client: AsyncClient, plan: Plan) -> None:
    """Writes every key. Raises the first error."""
    value = plan.value()
    await _each(client, plan, lambda key: Put(key, value, plan.setup_level))


async def remove(client: AsyncClient, plan: Plan) -> None:
    """Deletes every key that is there. Raises the first error."""
    await _each(client, plan, lambda key: Delete(key, plan.setup_level))


async def _each(client: AsyncClient, plan: Plan, op: Callable[[bytes], BatchOp]) -> None:
    keys = plan.key_names()
    for first in range(0, len(keys), _TOGETHER):
        for result in await client.batch([op(key) for key in keys[first : first + _TOGETHER]]):
            if isinstance(result, (KvError, LocalError)) and not isinstance(result, NotFound):
                raise result

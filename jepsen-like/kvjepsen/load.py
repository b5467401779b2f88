"""Concurrent writers over a bounded set of keys, through the client library, noting everything in a ledger.

Each writer owns its keys and has one write under way. Values are unique. Most writes are puts, some are deletes; most
wait for QUORUM, some for ALL. A write whose outcome is unknown is left open in the ledger and not repeated.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from kvjepsen.ledger import Ledger
from kvjepsen.recording import RecordingClient
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError, NotFound

WRITERS_DEFAULT: Final = 12
KEYS_PER_WRITER_DEFAULT: Final = 100

_DELETE_SHARE: Final = 0.1
_ALL_SHARE: Final = 0.15
_VALUE_BYTES_MAX: Final = 2_000
_REFUSED_PAUSE_S: Final = 0.02


@asynccontextmanager
async def load(
    endpoints: Sequence[str],
    ledger: Ledger,
    seed: int,
    *,
    writers: int = WRITERS_DEFAULT,
    keys_per_writer: int = KEYS_PER_WRITER_DEFAULT,
) -> AsyncIterator[None]:
    """Writers run inside the `async with`; on leaving it, each finishes the write that it has under way.

    An error that is none of the store's ends the run: it is raised on leaving.
    """
    stop = asyncio.Event()
    async with AsyncExitStack() as clients:
        tasks = []
        for number in range(writers):
            # Starting each at another endpoint spreads the load over all nodes; failover does the rest.
            turn = number % len(endpoints)
            client = RecordingClient([*endpoints[turn:], *endpoints[:turn]], ledger)
            await clients.enter_async_context(client)
            writer = _Writer(number, client, random.Random(f"{seed}/{number}"), keys_per_writer)
            tasks.append(asyncio.create_task(writer.run(stop)))
        try:
            yield
        finally:
            stop.set()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end


class _Writer:
    def __init__(self, number: int, client: AsyncClient, rng: random.Random, keys: int) -> None:
        self._number = number
        self._client = client
        self._rng = rng
        self._keys = keys
        self._written = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            key = b"load/%02d/%04d" % (self._number, self._rng.randrange(self._keys))
            value = None if self._rng.random() < _DELETE_SHARE else self._value()
            level = "all" if self._rng.random() < _ALL_SHARE else "quorum"
            if not await self._write(key, value, level):
                await asyncio.sleep(_REFUSED_PAUSE_S)

    async def _write(self, key: bytes, value: bytes | None, level: str) -> bool:
        """True unless the cluster could not take the write."""
        try:
            if value is None:
                await self._client.delete(key, level=level)
            else:
                await self._client.put(key, value, level=level)
        except NotFound:
            return True
        except (KvError, LocalError):
            return False
        return True

    def _value(self) -> bytes:
        self._written += 1
        head = b"%d/%d " % (self._number, self._written)
        return head + self._rng.randbytes(self._rng.randrange(_VALUE_BYTES_MAX))

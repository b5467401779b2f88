"""Whose turn it is to change a key, among the clients of this node: first come, first served.

Commands that read and write are kept right by the comparisons of their transactions. Without turns, the clients of one
node would make each other's comparisons fail.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from kvstore import limits
from kvstore.redis.problems import CommandError


class Turns:
    """A queue for each key that somebody changes. Bounded by who comes: one command for each connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: dict[bytes, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    @asynccontextmanager
    async def hold(self, keys: Iterable[bytes]) -> AsyncIterator[None]:
        """Around what changes `keys`. Raises CommandError if they are busy for too long."""
        held: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(limits.REDIS_COMMAND_S_MAX):
                    # All take them in one order, so that nobody waits for somebody who waits for him.
                    for key in sorted(set(keys)):
                        await self._take(key)
                        held.append(key)
            except TimeoutError:
                raise CommandError("a key was busy for too long; nothing was applied", "CONTENDED") from None
            yield
        finally:
            for key in held:
                self._give(key)

    async def _take(self, key: bytes) -> None:
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._give(key)  # it was his turn just now
            else:
                with suppress(ValueError):  # it may have been passed over already
                    queue.remove(turn)
            raise

    def _give(self, key: bytes) -> None:
        queue = self._queues[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[key]

"""A bound on the bytes that are under way to one place: who comes later waits for a turn, in the order of coming.

Forwarded writes and the answers of consensus share a connection. Without a bound, heartbeats would be answered behind
all that clients have sent, and a leader that hears too late steps down.
"""

import asyncio
from collections import deque

from kvstore.node.site import Site


class Window:
    """At most `bytes_max` at once, or one that is larger."""

    def __init__(self, site: Site, bytes_max: int) -> None:
        self._site = site
        self._bytes_max = bytes_max
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """The bytes that are under way."""
        return self._used

    async def enter(self, size: int, at: float) -> None:
        """Return once there is room; `leave` gives it back. Raises Expired at loop time `at`."""
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn: asyncio.Future[None] = self._site.loop.create_future()
        self._waiting.append((size, turn))
        try:
            await self._site.deadlines.wait(turn, at)
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(size)
            raise

    def leave(self, size: int) -> None:
        """It is not under way any more."""
        self._used -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._used += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._bytes_max

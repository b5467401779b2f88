"""Those who wait for their clients to say more, in a request that is being answered already: they wait no longer once
the client is gone, or the server is about to stop. aiohttp tells them neither.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")


class Waiting:
    """One of them for each connection at most."""

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[Any]] = {}
        self._ending = False

    async def client(self, request: web.BaseRequest, saying: Coroutine[Any, Any, T]) -> T | None:
        """What the client of `request` is `saying`; None when there is nobody to wait for any more."""
        if self._ending or request.transport is None:
            saying.close()
            return None
        task = self._tasks[request.protocol] = asyncio.ensure_future(saying)
        try:
            await asyncio.wait([task])
        finally:
            del self._tasks[request.protocol]
            task.cancel()
        return None if task.cancelled() else task.result()

    def lost(self, connection: object) -> None:
        """Its client is gone."""
        if connection in self._tasks:
            self._tasks[connection].cancel()

    def end(self) -> None:
        """The server is about to stop."""
        self._ending = True
        for task in self._tasks.values():
            task.cancel()

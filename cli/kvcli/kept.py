"""Clients that stay open from one command to the next, for `kv shell`: one event loop, a client for each who and
where.

Everything else opens a client for its command and closes it behind it.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from kvcli.credentials import Credentials

if TYPE_CHECKING:
    import asyncio

    from kvcli.options import Settings
    from kvstore.client import AsyncClient

T = TypeVar("T")

_KEPT_MAX = 8
_now: "Kept | None" = None


class Kept:
    """Open clients, on `runner`'s loop. At most _KEPT_MAX: the oldest one is closed for a new one."""

    def __init__(self, runner: "asyncio.Runner") -> None:
        self.runner = runner
        self._clients: dict[tuple[Any, ...], AsyncClient] = {}

    def run(self, chosen: "Settings", who: Credentials, action: "Callable[[AsyncClient], Coroutine[Any, Any, T]]") -> T:
        """What `action` gives. A Ctrl-C meanwhile ends it as KeyboardInterrupt; the client stays open."""
        return self.runner.run(self._go(chosen, who, action))

    async def _go(
        self, chosen: "Settings", who: Credentials, action: "Callable[[AsyncClient], Coroutine[Any, Any, T]]"
    ) -> T:
        place = (chosen.endpoints, chosen.timeout_s, chosen.tls, *who)
        client = self._clients.get(place)
        if client is None:
            if len(self._clients) >= _KEPT_MAX:
                await self._clients.pop(next(iter(self._clients))).close()
            client = self._clients[place] = chosen.client(who=who)
        return await action(client)

    async def _close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def close(self) -> None:
        """Close all of them."""
        self.runner.run(self._close())


def kept_open() -> Kept | None:
    """Those of the shell that runs in this process, if one does."""
    return _now


@contextmanager
def keep_open() -> "Iterator[Kept]":
    """Commands that run inside use clients that stay open until the end."""
    import asyncio

    global _now
    with asyncio.Runner() as runner:
        kept = _now = Kept(runner)
        try:
            yield kept
        finally:
            _now = None
            kept.close()

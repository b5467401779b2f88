"""Waiting for a leader, asked for over HTTP again and again, for there is no event to wait for."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

CHANGE_S_MAX: Final = 15.0
_POLL_S: Final = 0.02


class NoChange(LocalError):
    """No such leader was elected in time."""


async def next_leader(client: AsyncClient, among: Iterable[str]) -> str:
    """Who leads as the nodes of `client` say, as soon as it is one of `among`. Raises NoChange."""
    names = set(among)
    deadline = time.monotonic() + CHANGE_S_MAX
    while True:
        with suppress(KvError, LocalError):
            leader = (await client.cluster()).leader
            if leader in names:
                return leader
        if time.monotonic() >= deadline:
            raise NoChange(f"none of {', '.join(sorted(names))} leads after {CHANGE_S_MAX:g} s")
        await asyncio.sleep(_POLL_S)

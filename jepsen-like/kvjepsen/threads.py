"""Blocking calls in a thread that are never left behind: a thread cannot be cancelled.

Whoever is cancelled while it waits for one goes on waiting, and is cancelled then. Else what is stopped afterwards, a
cluster, would be started again behind one's back by the thread.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Like asyncio.to_thread, but the call has ended when this ends, in whatever way."""
    task = asyncio.ensure_future(asyncio.to_thread(call, *arguments, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await task
        raise

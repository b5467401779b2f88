"""The thread under the blocking `Client`: an event loop of its own that drives an AsyncClient.

1. The loop is touched only by its thread; callers hand it coroutines and wait, any number of them at once.
2. A caller that is interrupted (Ctrl-C) leaves at once; what it had begun is cancelled, and may have taken effect.
3. `close` ends what is under way: whoever waits gets ConnectionLost. Calls after it are refused.
4. A loop does not survive a fork: a child that uses its parent's client is told so, instead of waiting for ever.
"""

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

from kvstore import limits
from kvstore.errors import ConnectionLost

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread, until `close`, or until nobody refers to this any more."""

    def __init__(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._closed = False
        # A daemon, so that a program that forgets to close can end; what it waited for has been answered by then.
        self._thread = threading.Thread(target=_serve, args=(loop,), name="kvstore-client", daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, _stop, loop)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives or raises. Raises RuntimeError once closed, ConnectionLost when closed meanwhile."""
        with self._lock:
            refusal = self._refusal()
            if refusal is None:
                future = asyncio.run_coroutine_threadsafe(work, self._loop)
                self._open.add(future)
        if refusal is not None:
            work.close()
            raise RuntimeError(refusal)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConnectionLost("the client was closed before the answer came") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            self._open.discard(future)

    def _refusal(self) -> str | None:
        if os.getpid() != self._pid:
            return "this client was made before a fork; make one in each process"
        return "the client is closed" if self._closed else None

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel what is under way, run `last`, stop. A second call returns at once, and runs nothing."""
        with self._lock:
            if self._refusal() is not None:
                last.close()
                return
            self._closed = True
            waiting = list(self._open)
        for future in waiting:
            future.cancel()
        try:
            ending = asyncio.run_coroutine_threadsafe(last, self._loop)
            ending.result(limits.CLIENT_CLOSE_S_MAX)
        finally:
            self._finalizer()
            self._thread.join(limits.CLIENT_CLOSE_S_MAX)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)

"""One timer for all requests: waiting futures are kept in buckets of time, and a bucket that is due fails what is left.

A timer for each request costs more than the request; deadlines need no better resolution than a bucket.
"""

import asyncio
from typing import Any


class Expired(Exception):
    """The deadline passed before the future was done."""


class Deadlines:
    """Fails futures at their deadline, at most `bucket_s` late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bucket_s: float = 0.05) -> None:
        self._loop = loop
        self._bucket_s = bucket_s
        # Futures in the order in which they came, so that they also fail in that order.
        self._buckets: dict[int, dict[asyncio.Future[Any], None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: "asyncio.Future[Any]", at: float) -> Any:
        """The result of `future`, which fails with Expired at loop time `at`."""
        number = int(at / self._bucket_s) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
        bucket[future] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._bucket_s, self._sweep)
        try:
            return await future
        finally:
            bucket.pop(future, None)

    def _sweep(self) -> None:
        self._timer = None
        now = int(self._loop.time() / self._bucket_s)
        for number in [number for number, bucket in self._buckets.items() if number <= now or not bucket]:
            for future in self._buckets.pop(number):
                if not future.done():
                    future.set_exception(Expired())
        if self._buckets:
            self._timer = self._loop.call_later(self._bucket_s, self._sweep)

    def close(self) -> None:
        """Forget all deadlines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._buckets.clear()

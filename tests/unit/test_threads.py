"""A blocking call in a thread has ended when whoever waited for it has."""

import asyncio
import threading

import pytest

from kvjepsen.threads import in_thread


async def test_what_is_cancelled_waits_for_its_thread() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_results_and_errors_come_through() -> None:
    assert await in_thread(int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        await in_thread(int, "seven")

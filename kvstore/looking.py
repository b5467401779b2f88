"""Looking again: every so often, and at once when asked."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress


class Looking(ABC):
    """`look` is called every `check_s` seconds, or, without, only when asked."""

    def __init__(self, check_s: float | None) -> None:
        self._check_s = check_s
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def look(self) -> None:
        """Take what has changed, if it is good. Raises nothing."""

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look_now(self) -> None:
        """Do not wait for the next time."""
        self._asked.set()

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._check_s)
            self._asked.clear()
            await self.look()

"""A thread for the disk, so that requests are served while it works."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

_Done = Callable[[OSError | None], None]


class DiskThread:
    """See `Beside`. An executor's futures would cost several times as much as handing over one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended = threading.Event()
        self._failed: OSError | None = None
        self._done: _Done | None = None
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], None], done: _Done) -> None:
        assert self._done is None
        self._ended.clear()
        self._failed, self._done = None, done
        self._number += 1
        self._asked.put(work)

    def finish(self) -> None:
        if self._done is not None:
            self._ended.wait()
            self._tell(self._number)

    def close(self) -> None:
        """End the thread, once what is under way has ended."""
        self.finish()
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._asked.get()) is not None:
            number = self._number
            try:
                work()
            except OSError as error:
                self._failed = error
            self._ended.set()
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._tell, number)

    def _tell(self, number: int) -> None:
        """On the loop. What `finish` has waited for was told there."""
        if number == self._number and self._done is not None:
            done, self._done = self._done, None
            done(self._failed)

"""A simulated disk that works beside the loop: what it is asked for happens a little later."""

import random
from collections.abc import Callable
from typing import Final

from kvstore.testing.sim_loop import SimHandle, SimLoop

_TAKES_S_MAX: Final = 0.005


class SimBeside:
    """See `kvstore.consensus.disk.Beside`. Nothing of it happens any more once the process of `loop` has ended."""

    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng
        self._work: Callable[[], None] | None = None
        self._done: Callable[[OSError | None], None] | None = None
        self._timer: SimHandle | None = None

    def start(self, work: Callable[[], None], done: Callable[[OSError | None], None]) -> None:
        assert self._done is None
        self._work, self._done = work, done
        self._timer = self._loop.call_later(self._rng.uniform(0.0, _TAKES_S_MAX), self.finish)

    def finish(self) -> None:
        work, done, timer = self._work, self._done, self._timer
        self._work = self._done = self._timer = None
        if work is None or done is None or timer is None:
            return
        timer.cancel()
        failed: OSError | None = None
        try:
            work()
        except OSError as error:
            failed = error
        done(failed)

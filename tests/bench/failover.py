"""How long one client cannot write when the leader is killed.

A writer prints a line for each acknowledgment; the gap is the longest time between two of them that ends after the
SIGKILL.
"""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from tests.bench.clusters import Running
from tests.bench.procs import NotAvailable

_FLOW: Final = 100
_FLOW_S_MAX: Final = 30.0
_STEADY_S: Final = 1.0
_GAP_S_MAX: Final = 40.0
_GAP_S_MIN: Final = 0.02
_AFTER_S: Final = 1.0
_NO_GAP_S: Final = 5.0


class _Writer:
    """The process, and a thread that notes when it tells of acknowledgments."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.times: list[float] = []
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while told := os.read(self._process.stdout.fileno(), 1 << 16):
            now = time.monotonic()
            with self._news:
                self.times.extend([now] * told.count(b"\n"))
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()

    def wait(self, within_s: float) -> list[float]:
        """All times so far, as soon as there is another one, or after `within_s`."""
        with self._news:
            known = len(self.times)
            self._news.wait_for(lambda: len(self.times) > known or self._ended, within_s)
            if self._ended:
                raise NotAvailable(f"the writer ended with {self._process.wait()}")
            return list(self.times)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._process.stdout.close()


def gap(command: list[str], running: Running) -> tuple[float, int]:
    """Kills the leader under the writer and restarts it: the gap in seconds, and how many writes were acknowledged."""
    writer = _Writer(command)
    killed: int | None = None
    try:
        begun = time.monotonic()
        while len(times := writer.wait(_STEADY_S)) < _FLOW or times[-1] - times[0] < _STEADY_S:
            if time.monotonic() - begun > _FLOW_S_MAX:
                raise NotAvailable(f"{len(times)} writes in {_FLOW_S_MAX:g} s before anything was killed")
        leader, since = running.leader().number, time.monotonic()
        killed = leader
        running.kill(leader)
        while True:
            times, now = writer.wait(_AFTER_S / 4), time.monotonic()
            found = longest(times, since)
            if over(times, found, since, now):
                return found[0], len(times)
            if now - times[-1] > _GAP_S_MAX:
                raise NotAvailable(f"no write was acknowledged {_GAP_S_MAX:g} s after the leader had been killed")
    finally:
        writer.close()
        if killed is not None:
            running.restart(killed)


def longest(times: Sequence[float], since: float) -> tuple[float, float]:
    """The longest time between two neighbours of which the later is after `since`, and when it ended; zeros if none."""
    ends = ((after - before, after) for before, after in pairwise(times) if after > since)
    return max(ends, default=(0.0, 0.0))


def over(times: Sequence[float], found: tuple[float, float], since: float, now: float) -> bool:
    """Whether writes flow again: for a while after a gap, or for longer without any that is one."""
    gap_s, ended = found
    if now - times[-1] > _AFTER_S:
        return False
    return now - since > _NO_GAP_S or (gap_s > _GAP_S_MIN and now - ended > _AFTER_S)

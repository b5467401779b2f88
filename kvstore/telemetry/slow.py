"""Lines in the log for requests that took long; bounded, so that a disk that stands still does not fill the log."""

import time
from typing import Any, Final

import structlog

from kvstore.limits import SLOW_REQUESTS_LOGGED_PER_S_MAX

log = structlog.get_logger("kvstore.slow")

OFF: Final = float("inf")


class SlowRequests:
    """Those that took longer than `threshold_s` are counted, and written down: so many in a second at most."""

    def __init__(self, threshold_s: float = OFF) -> None:
        self.threshold_s = threshold_s
        self.total = 0
        self._second = 0
        self._written = 0
        self._left_out = 0

    def note(self, event: str, seconds: float, **about: Any) -> None:
        """`event` took `seconds`, which is more than it should."""
        self.total += 1
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= SLOW_REQUESTS_LOGGED_PER_S_MAX:
            self._left_out += 1
            return
        self._written += 1
        if self._left_out:
            about["left_out"], self._left_out = self._left_out, 0
        log.warning(event, ms=round(seconds * 1_000, 1), **about)

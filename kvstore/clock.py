"""The two clocks a node reads, so that a simulator can hand it others."""

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds for deadlines, wall milliseconds for stamps."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""


class SystemClock:
    """The clocks of the operating system."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

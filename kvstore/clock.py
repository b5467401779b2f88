"""The two clocks a node reads, so that a simulator can hand it others."""

import time
from typing import Final, Protocol

_MONOTONIC: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Monotonic seconds for deadlines, wall milliseconds for stamps."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back, nor stands still while the machine is suspended."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""


class SystemClock:
    """The clocks of the operating system."""

    def monotonic(self) -> float:
        return time.clock_gettime(_MONOTONIC)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

"""What happened while it was measured: the time of every call, errors by code and outcome, the rate over time."""

import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy

from kvstore.errors import CannotConnect, ConnectionLost, KvError, LocalError

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "worst": 100.0}

_TICK_S: Final = 0.1
_POINTS_MAX: Final = 60


class Tally:
    """`calls_s` holds, for each operation, the seconds of every call that succeeded, or did in part. `operations`
    counts what succeeded: for a batch, more than calls. The rate and the total are those of the `headline` operations.
    """

    def __init__(self, names: Sequence[str], headline: Sequence[str] | None = None) -> None:
        self.headline = tuple(names if headline is None else headline)
        self.calls_s: dict[str, array[float]] = {name: array("d") for name in names}
        self.operations: dict[str, int] = dict.fromkeys(names, 0)
        self.errors: Counter[tuple[str, str | None]] = Counter()
        self.last_error: KvError | LocalError | None = None
        self.calls = 0
        self.cpu_s = 0.0
        self.seconds = 0.0
        self._ticks: list[int] = []
        self._begun = 0.0
        self._cpu_begun = 0.0

    @property
    def total(self) -> int:
        """All headline operations that succeeded."""
        return sum(self.operations[name] for name in self.headline)

    def begin(self) -> None:
        """The clock starts."""
        self._cpu_begun, self._begun = time.process_time(), time.monotonic()

    def end(self) -> None:
        """The clock stops."""
        self.seconds = time.monotonic() - self._begun
        self.cpu_s = time.process_time() - self._cpu_begun

    def done(self, name: str, begun: float, ended: float, operations: int = 1) -> None:
        """A call succeeded, with so many operations; both moments by `time.monotonic`."""
        self.calls_s[name].append(ended - begun)
        self.operations[name] += operations
        if name not in self.headline:
            return
        tick = int((ended - self._begun) / _TICK_S)
        if tick >= len(self._ticks):
            self._ticks.extend([0] * (tick + 1 - len(self._ticks)))
        self._ticks[tick] += operations

    def failed(self, error: KvError | LocalError) -> None:
        """An operation failed."""
        self.errors[code_of(error), outcome_of(error)] += 1
        self.last_error = error

    def rate(self) -> tuple[float, list[float]]:
        """Seconds of one interval, and operations a second in each that is over; at most `_POINTS_MAX` of them."""
        ticks = self._ticks + [0] * (int(self.seconds / _TICK_S) - len(self._ticks))
        together = max(1, -(-len(ticks) // _POINTS_MAX))
        interval_s = together * _TICK_S
        whole = int(self.seconds / interval_s + 1e-9)
        sums = [sum(ticks[at * together : (at + 1) * together]) for at in range(whole)]
        return round(interval_s, 3), [round(each / interval_s, 1) for each in sums]

    def headline_s(self) -> "array[float]":
        """The seconds of all headline calls; of one operation in the order of their ends."""
        if len(self.headline) == 1:
            return self.calls_s[self.headline[0]]
        return sum((self.calls_s[name] for name in self.headline), array("d"))

    @property
    def cpu_share(self) -> float:
        """How much of one core this process used; 1 is all of it."""
        return self.cpu_s / self.seconds if self.seconds else 0.0


def percentiles_ms(calls_s: "array[float]") -> dict[str, float | None]:
    """Milliseconds for each of PERCENTILES, values that were measured; null without a single call."""
    if not calls_s:
        return dict.fromkeys(PERCENTILES)
    found = numpy.percentile(calls_s, list(PERCENTILES.values()), method="inverted_cdf") * 1_000
    return {name: round(float(value), 3) for name, value in zip(PERCENTILES, found, strict=True)}


def code_of(error: KvError | LocalError) -> str:
    """The API's code, or the name of an error that never was on the wire: CannotConnect is "cannot_connect"."""
    if isinstance(error, KvError):
        return error.code
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")


def outcome_of(error: KvError | LocalError) -> str | None:
    """Whether the operation took effect: not_applied, unknown or committed; None for a read."""
    if isinstance(error, CannotConnect):
        return "not_applied"
    if isinstance(error, ConnectionLost):
        return "unknown"
    return error.outcome if isinstance(error, KvError) else None

"""Which operations show why a promise is called broken: those that the checker names, and those around them. Pure."""

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kvjepsen.records import Observation, Operation
from kvjepsen.report.axes import RIGHT
from kvjepsen.report.results import Found
from kvjepsen.report.run import Run
from kvstore import limits

_AROUND_SHARE: Final = 0.15
_AROUND_NS_MIN: Final = 5_000_000


@dataclass(frozen=True)
class Window:
    """`named` are the operations of the witness, `around` others on the same keys, `hidden` those left out.

    `told` are what nodes said of themselves, where that is what the witness names.
    """

    named: Sequence[Operation]
    around: Sequence[Operation]
    told: Sequence[Observation]
    hidden: int

    @property
    def operations(self) -> list[Operation]:
        """All that is drawn, in the order of their invocation."""
        return sorted([*self.named, *self.around], key=lambda op: op.i)


def window(run: Run, found: Found) -> Window:
    """The failing window of one finding; empty if the history has nothing of it."""
    numbers = set(found.ops)
    named = [run.by_line[i] for i in sorted(numbers) if i in run.by_line]
    told = [observation for observation in run.history.observations if observation.i in numbers]
    kept = _ends(named, limits.REPORT_WINDOW_OPS_MAX)
    if not named:
        return Window([], [], told[: limits.REPORT_WINDOW_OPS_MAX], 0)
    keys = {op.key for op in named}
    low, high = _span(named)
    near = [op for op in run.history.operations if op.key in keys and op.i not in numbers and _overlaps(op, low, high)]
    room = limits.REPORT_WINDOW_OPS_MAX - len(kept)
    anchors = sorted(i for op in kept for i in (op.i, op.answered))
    nearest = sorted(near, key=lambda op: _distance(op, anchors))[: max(0, room)]
    hidden = len(named) - len(kept) + len(near) - len(nearest)
    return Window(kept, nearest, told[: limits.REPORT_WINDOW_OPS_MAX], hidden)


class Stretched:
    """Time from left to right by moments: order and overlap are exact, quiet stretches are shortened.

    A witness may be a write of a millisecond and a read a minute later; on a plain scale nothing could be seen of them.
    """

    def __init__(self, moments: Iterable[int], left: float, right: float = RIGHT) -> None:
        self._moments = sorted(set(moments))
        widths = [0.0]
        for before, after in zip(self._moments, self._moments[1:], strict=False):
            widths.append(widths[-1] + 1 + math.log10(1 + (after - before) / 1e5))
        unit = (right - left) / (widths[-1] or 1.0)
        self._xs = [left + unit * width for width in widths]

    def x(self, t_ns: int) -> float:
        """Where a moment is; between two of those given, in proportion. Outside, the edge."""
        at = bisect.bisect_left(self._moments, t_ns)
        if at == 0 or at == len(self._moments):
            return self._xs[min(at, len(self._moments) - 1)]
        before, after = self._moments[at - 1], self._moments[at]
        share = (t_ns - before) / (after - before)
        return self._xs[at - 1] + share * (self._xs[at] - self._xs[at - 1])

    def ticks(self, apart: float) -> list[int]:
        """Some of the moments, at least so many pixels apart."""
        kept: list[int] = []
        for moment, x in zip(self._moments, self._xs, strict=True):
            if not kept or x - self.x(kept[-1]) >= apart:
                kept.append(moment)
        return kept


def moments(operations: Iterable[Operation]) -> list[int]:
    """When operations began and were answered."""
    return [ns for op in operations for ns in (op.t_ns, op.answered_ns) if ns is not None]


def _span(operations: Iterable[Operation]) -> tuple[int, int]:
    all_moments = moments(operations) or [0]
    low, high = min(all_moments), max(all_moments)
    around = max(_AROUND_NS_MIN, int(_AROUND_SHARE * (high - low)))
    return low - around, high + around


def _overlaps(op: Operation, low: int, high: int) -> bool:
    began = op.t_ns or 0
    return began <= high and (op.answered_ns if op.answered_ns is not None else began) >= low


def _distance(op: Operation, anchors: Sequence[int]) -> int:
    """How many events lie between its beginning and the nearest event that is named."""
    at = bisect.bisect_left(anchors, op.i)
    return min(abs(op.i - anchor) for anchor in anchors[max(0, at - 1) : at + 1])


def _ends(operations: Sequence[Operation], most: int) -> list[Operation]:
    """The first and the last ones, if there are too many: a witness begins and ends with what matters."""
    if len(operations) <= most:
        return list(operations)
    return [*operations[: most // 2], *operations[len(operations) - most // 2 :]]

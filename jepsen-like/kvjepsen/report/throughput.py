"""How many operations were answered in each second, by how they ended, stacked."""

from collections.abc import Sequence
from typing import Final

from kvjepsen.records import Outcome
from kvjepsen.report import bands, words
from kvjepsen.report.axes import TimeAxis, Values, picture, round_up
from kvjepsen.report.latency import OUTCOMES
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.run import Run
from kvstore import limits

_TOP: Final = 10.0
_BOTTOM: Final = 170.0


def draw(run: Run) -> Html:
    """The rates, with the faults behind them."""
    axis = TimeAxis.of(run)
    width_s = _bucket_s((axis.end_ns - axis.start_ns) / 1e9)
    buckets = _count(run, axis, width_s)
    rates = {outcome: [number / width_s for number in buckets[outcome]] for outcome in OUTCOMES}
    totals = [sum(column) for column in zip(*rates.values(), strict=True)]
    high = round_up(max(totals, default=0))
    scale = Values(0, high, _TOP, _BOTTOM)
    layers, below = [], [0.0] * len(totals)
    for outcome, rate in rates.items():
        above = [low + more for low, more in zip(below, rate, strict=True)]
        layers.append(_layer(axis, scale, width_s, below, above, outcome))
        below = above
    svg = picture(
        "Operations answered in each second, stacked by outcome",
        _BOTTOM + 44,
        bands.shade(run, axis.x, _TOP, _BOTTOM),
        scale.draw([(share * high, f"{share * high:,.6g}/s") for share in (0, 0.5, 1)]),
        axis.draw(_TOP, _BOTTOM),
        *layers,
        bands.phases(run, axis.x, _BOTTOM + 22),
        timed=axis,
    )
    mean = "" if width_s == 1 else f" Each step is the mean of {width_s} s."
    return join(svg, words.note(f"Counted when the answer came, by how it ended.{mean}"))


def _bucket_s(whole_s: float) -> int:
    return max(1, -(-int(whole_s + 1) // limits.REPORT_BUCKETS_MAX))


def _count(run: Run, axis: TimeAxis, width_s: int) -> dict[Outcome, list[int]]:
    size = int((axis.end_ns - axis.start_ns) / 1e9 / width_s) + 1
    buckets: dict[Outcome, list[int]] = {outcome: [0] * size for outcome in OUTCOMES}
    for op in run.history.operations:
        if op.answered_ns is not None:
            buckets[op.outcome][int((op.answered_ns - axis.start_ns) / 1e9 / width_s)] += 1
    return buckets


def _layer(
    axis: TimeAxis, scale: Values, width_s: int, below: Sequence[float], above: Sequence[float], outcome: Outcome
) -> Html | None:
    if list(below) == list(above):
        return None
    edges = [axis.x(axis.start_ns + round(at * width_s * 1e9)) for at in range(len(above) + 1)]
    there = "".join(f"L{edges[at]:.1f} {scale.y(v):.1f}H{edges[at + 1]:.1f}" for at, v in enumerate(above))
    back = "".join(f"L{edges[at + 1]:.1f} {scale.y(below[at]):.1f}H{edges[at]:.1f}" for at in range(len(below))[::-1])
    return tag("path", d=Html(f"M{there[1:]}{back}Z"), class_=f"area {outcome}")

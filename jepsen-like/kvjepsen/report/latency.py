"""How long each answer took: a mark for each operation, its colour and shape by how it ended, over time."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from kvjepsen.records import FINAL, Operation, Outcome
from kvjepsen.report import bands, words
from kvjepsen.report.axes import TimeAxis, Values, picture
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.run import Run
from kvstore import limits

OUTCOMES: Final[dict[Outcome, str]] = {
    "ok": "answered: it took effect",
    "fail": "refused: it did not take effect",
    "info": "unknown: it may have taken effect, or may still",
}

_TOP: Final = 8.0
_HEIGHT: Final = 250.0
_DECADES_MS: Final = (0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
_SHAPES: Final[dict[Outcome, str]] = {"ok": "h0", "fail": "m-3 -3l6 6m-6 0l6 -6", "info": "m0 -4l4 7h-8z"}
# Marks nearer to each other than this look like one.
_CELL: Final = 1.5


class Point(NamedTuple):
    """An operation in the picture."""

    x: float
    y: float


def draw(run: Run) -> Html:
    """The scatter, with the faults named above it."""
    timed = [(op, latency_ms(op)) for op in run.history.operations]
    known = [(op, took) for op, took in timed if took is not None]
    if not known:
        return words.note("No operation was answered, so there is no latency to draw.")
    axis = TimeAxis.of(run)
    faults, top = bands.strip(run, axis.x, _TOP, run.results.faults)
    top += 8
    scale = _scale([took for _, took in known], top)
    marks: dict[Outcome, list[Point]] = {outcome: [] for outcome in OUTCOMES}
    for op, took in known:
        marks[op.outcome].append(Point(axis.x(op.t_ns or 0), scale.y(took)))
    drawn, shown = _thin(marks)
    svg = picture(
        "Latency of each operation over time, logarithmic",
        scale.bottom + 44,
        bands.shade(run, axis.x, _TOP, scale.bottom),
        faults,
        scale.draw([(ms, words.milliseconds(ms)) for ms in _DECADES_MS if scale.low <= ms <= scale.high]),
        axis.draw(top, scale.bottom),
        *(_marks(outcome, points) for outcome, points in drawn.items()),
        bands.phases(run, axis.x, scale.bottom + 22),
        timed=axis,
    )
    silent = len(timed) - len(known)
    last = sum(op.client == FINAL for op, _ in known)
    return join(svg, legend(), _remark(shown, len(known), last, silent))


def latency_ms(op: Operation) -> float | None:
    """From the request to its answer; None if none came."""
    if op.t_ns is None or op.answered_ns is None:
        return None
    return (op.answered_ns - op.t_ns) / 1e6


def legend() -> Html:
    """What the marks mean. The shapes tell it too, for those who see colours differently."""
    return tag("p", *(_meaning(outcome, meaning) for outcome, meaning in OUTCOMES.items()), class_="legend")


def _meaning(outcome: Outcome, meaning: str) -> Html:
    mark = tag("path", d=Html(f"M8 8{_SHAPES[outcome]}"), class_=f"mark {outcome}")
    return tag("span", tag("svg", mark, viewBox="0 0 16 16", class_="key", aria_hidden="true"), meaning)


def _scale(latencies: Sequence[float], top: float) -> Values:
    low = max((ms for ms in _DECADES_MS if ms <= max(min(latencies), _DECADES_MS[0])), default=_DECADES_MS[0])
    high = min((ms for ms in _DECADES_MS if ms >= max(latencies)), default=_DECADES_MS[-1])
    return Values(low, max(high, 10 * low), top, top + _HEIGHT, logarithmic=True)


def _thin(marks: dict[Outcome, list[Point]]) -> tuple[dict[Outcome, list[Point]], int]:
    """At most REPORT_POINTS_MAX marks, and how many. Marks on top of each other become one; if that is not enough,
    every n-th goes in, and the rare outcomes are thinned last."""
    kept: dict[Outcome, list[Point]] = {}
    room = limits.REPORT_POINTS_MAX
    distinct = {outcome: _distinct(points) for outcome, points in marks.items()}
    for left, outcome in zip((3, 2, 1), sorted(distinct, key=lambda outcome: len(distinct[outcome])), strict=True):
        points = distinct[outcome]
        step = -(-len(points) // max(1, room // left))
        kept[outcome] = points[:: max(1, step)]
        room -= len(kept[outcome])
    # The many are drawn first, so that they do not cover the few.
    return {outcome: kept[outcome] for outcome in OUTCOMES}, sum(map(len, kept.values()))


def _distinct(points: Iterable[Point]) -> list[Point]:
    cells = {(round(point.x / _CELL), round(point.y / _CELL)): point for point in points}
    return list(cells.values())


def _marks(outcome: Outcome, points: Sequence[Point]) -> Html:
    shape = _SHAPES[outcome]
    return tag("path", d=Html("".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in points)), class_=f"mark {outcome}")


def _remark(shown: int, answered: int, last: int, silent: int) -> Html:
    them = words.count(answered, "answered operation") + (
        f" ({last:,} of them the last look at every key)" if last else ""
    )
    drawn = (
        f"All {them} are drawn."
        if shown == answered
        else f"{shown:,} marks stand for {them}: those that would cover each "
        "other are one, and of the most frequent outcomes only every n-th is drawn where too many are left. The next "
        "picture has the true shares."
    )
    never = f" {words.count(silent, 'operation')} got no answer at all and cannot be drawn." if silent else ""
    return words.note(drawn, never, " Grey: at least one fault was active.")

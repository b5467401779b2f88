"""The faults in the pictures: shaded behind what happened meanwhile, and named in a strip above the first picture."""

from collections.abc import Callable, Iterable
from typing import Final

from kvjepsen.report import words
from kvjepsen.report.axes import RIGHT
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.results import Injected
from kvjepsen.report.run import Run
from kvstore import limits

_LANES_MAX: Final = 6
LANE: Final = 18.0
_CHAR: Final = 6.4
_NARROWEST: Final = 2.0


def shade(run: Run, x: Callable[[int], float], top: float, bottom: float) -> Html:
    """The times at which at least one fault was there. Overlaps are one, so that nothing grows darker."""
    path = []
    for left, right in _united(_extent(run, fault, x) for fault in run.results.faults):
        path.append(f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z")
    return tag("path", d=Html("".join(path)), class_="shade")


def strip(run: Run, x: Callable[[int], float], top: float, faults: Iterable[Injected]) -> tuple[Html, float]:
    """A bar for each fault, its name in it or beside it, below one another where they overlap; and where that ends."""
    lanes: list[float] = []
    drawn: list[Html] = []
    hidden = 0
    for fault in sorted(faults, key=lambda fault: fault.from_ns):
        left, right = _extent(run, fault, x)
        label = _label(fault)
        length = _CHAR * len(label) + 8
        if right - left >= length:
            place, begins, ends = "inside", left, right
        elif right + length < RIGHT:
            place, begins, ends = "behind", left, right + length
        else:
            place, begins, ends = "before", left - length, right
        lane = next((lane for lane, until in enumerate(lanes) if until + 4 <= begins), len(lanes))
        if lane >= _LANES_MAX or len(drawn) >= limits.REPORT_ROWS_MAX:
            hidden += 1
            continue
        lanes[lane : lane + 1] = [ends]
        drawn.append(_bar(fault, label, (left, right), top + lane * LANE, place))
    bottom = top + LANE * len(lanes)
    if hidden:
        text = f"and {words.count(hidden, 'fault')} more for which there is no room here; the table has them"
        drawn.append(tag("text", text, x=RIGHT, y=bottom + 12, class_="label end quiet"))
        bottom += LANE
    return join(*drawn), bottom


def phases(run: Run, x: Callable[[int], float], top: float) -> Html:
    """The parts of the run, as a ruler with names."""
    drawn = []
    for phase in run.results.phases[: limits.REPORT_ROWS_MAX]:
        left, right = x(phase.from_ns), x(run.end_of(phase))
        line = Html(f"M{left + 1:.1f} {top + 4:.1f}v-4H{right - 1:.1f}v4")
        drawn.append(tag("path", d=line, class_="bracket"))
        if right - left > _CHAR * len(phase.name):
            drawn.append(tag("text", phase.name, x=(left + right) / 2, y=top + 14, class_="label middle quiet"))
    return join(*drawn)


def _extent(run: Run, fault: Injected, x: Callable[[int], float]) -> tuple[float, float]:
    left = x(fault.from_ns)
    return left, max(left + _NARROWEST, x(run.end_of(fault)))


def _united(extents: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    united: list[tuple[float, float]] = []
    for left, right in sorted(extents):
        if united and left <= united[-1][1] + 0.5:
            united[-1] = (united[-1][0], max(right, united[-1][1]))
        else:
            united.append((left, right))
    return united


def _label(fault: Injected) -> str:
    return f"{words.short_value(fault.fault)} {words.short_value(', '.join(fault.nodes))}".strip()


def _bar(fault: Injected, label: str, extent: tuple[float, float], y: float, place: str) -> Html:
    left, right = extent
    seen = "; ".join(fault.effects) or "nothing was seen of it"
    at = {"inside": (left + right) / 2, "behind": right + 4, "before": left - 4}[place]
    return tag(
        "g",
        tag("title", f"{fault.title or fault.fault} {', '.join(fault.nodes)}: {seen}"),
        tag("rect", x=left, y=y + 1, width=right - left, height=14.0, rx=2.0, class_="fault"),
        tag("text", label, x=at, y=y + 12, class_=f"label {place}"),
    )

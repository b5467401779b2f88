"""The axes of the pictures: time from left to right, the same for all of them, and values from bottom to top."""

import math
from typing import Final, NamedTuple

from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.run import Run

WIDTH: Final = 1080.0
LEFT: Final = 64.0
RIGHT: Final = 1068.0
_TICKS_MAX: Final = 12
_STEPS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800)


class TimeAxis(NamedTuple):
    """Nanoseconds of the run's clock to pixels. What lies outside is drawn at the edge."""

    start_ns: int
    end_ns: int

    @classmethod
    def of(cls, run: Run) -> "TimeAxis":
        """The whole run."""
        return cls(run.start_ns, run.end_ns)

    def x(self, t_ns: int) -> float:
        """Where a moment is."""
        share = (t_ns - self.start_ns) / (self.end_ns - self.start_ns)
        return LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT)

    def draw(self, top: float, bottom: float) -> Html:
        """Lines from `top` to `bottom`, and the seconds below them."""
        whole_s = (self.end_ns - self.start_ns) / 1e9
        step = next((step for step in _STEPS_S if whole_s / step <= _TICKS_MAX), whole_s / _TICKS_MAX)
        drawn = []
        for count in range(int(whole_s / step) + 1):
            x = self.x(self.start_ns + round(count * step * 1e9))
            drawn.append(tag("path", d=Html(f"M{x:.1f} {top:.1f}V{bottom:.1f}"), class_="grid"))
            drawn.append(tag("text", _clock(count * step, step), x=x, y=bottom + 15, class_="tick middle"))
        return join(*drawn)


class Values(NamedTuple):
    """Values to pixels, `low` at `bottom` and `high` at `top`; logarithmic or not."""

    low: float
    high: float
    top: float
    bottom: float
    logarithmic: bool = False

    def y(self, value: float) -> float:
        """Where a value is; what lies outside is drawn at the edge."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = (at - low) / (high - low)
        return self.bottom - min(1.0, max(0.0, share)) * (self.bottom - self.top)

    def draw(self, ticks: list[tuple[float, str]]) -> Html:
        """A line and a label for each tick."""
        drawn = []
        for value, label in ticks:
            y = self.y(value)
            drawn.append(tag("path", d=Html(f"M{LEFT:.0f} {y:.1f}H{RIGHT:.0f}"), class_="grid"))
            drawn.append(tag("text", label, x=LEFT - 8, y=y + 4, class_="tick end"))
        return join(*drawn)


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 and so on: a scale that ends on a number that one can read."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * 1.000001)


def picture(name: str, height: float, *drawn: Html | None, timed: TimeAxis | None = None) -> Html:
    """An SVG that is as wide as the page. `timed` lets the cursor tell the time in it."""
    svg = tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_label=name,
        data_seconds=None if timed is None else f"{(timed.end_ns - timed.start_ns) / 1e9:.3f}",
        data_left=None if timed is None else LEFT,
        data_right=None if timed is None else RIGHT,
    )
    return tag("div", svg, class_="picture")


def _clock(at_s: float, step: float) -> str:
    if step >= 60:
        return f"{at_s / 60:.0f} min"
    return f"{at_s:.1f} s" if step < 1 else f"{at_s:.0f} s"

"""The pictures of the odds: served over the chance that a node is down, for each number of nodes and level. Pure.

Solid is the exact formula, dashed the documented one, which is about majorities only, and what is between them is
shaded. Points are what was observed, with their 95 % intervals where trials were drawn.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kvjepsen.report.markup import Html, join, number, tag
from kvstore.availability import documented_survival, level_availability

WIDTH: Final = 300.0
HEIGHT: Final = 220.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 34.0, 10.0, 8.0, 36.0
_STEPS: Final = [step / 80 for step in range(81)]
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_CAP: Final = 3.0
_COLUMNS: Final = 3

# Of the picture alone and of the page.
STYLE: Final = """
.exact { stroke: #1b4f8a; stroke-width: 1.6; fill: none; }
.documented { stroke: #c2571a; stroke-width: 1.6; stroke-dasharray: 5 3; fill: none; }
.gap { fill: #f7dfcd; } .interval { stroke: #2b2b2b; stroke-width: 1.2; fill: none; }
.grid { stroke: #e4e4e4; stroke-width: 1; } .point { fill: #2b2b2b; stroke: #fff; stroke-width: 0.8; }
svg text { font: 10px system-ui, sans-serif; fill: #666; } svg .title { font-size: 13px; fill: #2b2b2b; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
"""


def panel(n: int, level: str, cells: Iterable[dict[str, Any]]) -> Html:
    """One panel, as an image of its own; `cells` are those of this n and level."""
    return tag(
        "svg", drawing(n, level, cells), viewBox=f"0 0 {number(WIDTH)} {number(HEIGHT)}", role="img",
        aria_label=f"n = {n}, {level}: served over the chance that a node is down",
    )  # fmt: skip


def picture(document: dict[str, Any]) -> str:
    """Level QUORUM of an odds.json as an SVG file: all panels, with titles and what the marks mean."""
    cells = [cell for cell in document["cells"] if cell["level"] == "quorum"]
    nodes = sorted({cell["n"] for cell in cells})
    above, below, row = 22.0, 24.0, HEIGHT + 22.0
    panels = [
        tag(
            "g",
            tag("text", _title(n), x=_LEFT, y=-4.0, class_="title"),
            drawing(n, "quorum", [cell for cell in cells if cell["n"] == n]),
            transform=f"translate({number(place % _COLUMNS * WIDTH)} {number(above + place // _COLUMNS * row)})",
        )
        for place, n in enumerate(nodes)
    ]
    # The legend needs the width of two panels.
    width, height = WIDTH * min(max(len(nodes), 2), _COLUMNS), below + row * math.ceil(len(nodes) / _COLUMNS)
    found = tag(
        "svg",
        tag("style", Html(STYLE)),
        tag("rect", width=width, height=height, fill="#fff"),
        *panels,
        _legend(height - 8),
        xmlns=Html("http://www.w3.org/2000/svg"),
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
    )
    return f"{found}\n"


def _title(n: int) -> str:
    return f"n = {n}" if n % 2 else f"n = {n}: the documented formula is too high"


def _legend(y: float) -> Html:
    marks = [
        (_line("exact"), "exact: a majority is alive", 170.0),
        (_line("documented"), "documented: no majority has failed", 210.0),
        (tag("circle", cx=12.0, cy=-3.0, r=3.0, class_="point"), "observed, with 95 % intervals", 0.0),
    ]
    drawn, x = [], _LEFT
    for mark, text, room in marks:
        drawn.append(tag("g", mark, tag("text", text, x=30.0, y=0.0), transform=f"translate({number(x)} {number(y)})"))
        x += room
    return join(*drawn)


def _line(kind: str) -> Html:
    return tag("line", x1=0.0, x2=24.0, y1=-3.0, y2=-3.0, class_=kind)


def drawing(n: int, level: str, cells: Iterable[dict[str, Any]]) -> Html:
    """What is in a panel of WIDTH and HEIGHT."""
    parts: list[Html] = []
    exact = [(p, level_availability(level, n, p)) for p in _STEPS]
    claimed = [(p, documented_survival(n, p)) for p in _STEPS] if level == "quorum" else []
    if n % 2 == 0 and claimed:
        parts.append(tag("polygon", points=Html(_points([*claimed, *reversed(exact)])), class_="gap"))
    for tick in _TICKS:
        parts.append(tag("line", x1=_x(0), x2=_x(1), y1=_y(tick), y2=_y(tick), class_="grid"))
        parts.append(tag("text", f"{tick:g}", x=_LEFT - 5, y=_y(tick) + 3, class_="end"))
        parts.append(tag("text", f"{tick:g}", x=_x(tick), y=HEIGHT - 22, class_="middle"))
    parts.append(tag("text", "chance that a node is down", x=_x(0.5), y=HEIGHT - 8, class_="middle"))
    parts.append(tag("polyline", points=Html(_points(exact)), class_="exact"))
    if claimed:
        parts.append(tag("polyline", points=Html(_points(claimed)), class_="documented"))
    parts += [_observed(cell) for cell in cells if cell["observed"] is not None]
    return join(*parts)


def _observed(cell: dict[str, Any]) -> Html:
    x, y = _x(cell["p"]), _y(cell["observed"])
    told = f"p = {cell['p']:g}: observed {cell['observed']:.4f}, exact {cell['exact']:.4f}, {cell['trials']:,} trials"
    interval = None
    if cell["from"] == "drawn":
        low, high = map(_y, cell["ci95"])
        caps = "".join(f"M{x - _CAP:.1f} {end:.1f}H{x + _CAP:.1f}" for end in (low, high))
        interval = tag("path", d=Html(f"M{x:.1f} {low:.1f}V{high:.1f}{caps}"), class_="interval")
    return tag("g", tag("title", told), interval, tag("circle", cx=x, cy=y, r=2.5, class_="point"))


def _points(curve: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_x(p):.1f},{_y(value):.1f}" for p, value in curve)


def _x(p: float) -> float:
    return _LEFT + p * (WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (HEIGHT - _TOP - _BOTTOM)

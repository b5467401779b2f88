"""The picture of a comparison: operations a second of each system, medians with their ranges, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.systems import SYSTEMS
from tests.bench.table import LINES, by_round, figure, measured
from tests.bench.work import Row

_OURS: Final = ("#1b4f8a", "#4f8fd0", "#9cc3ea")
_THEIRS: Final = ("#c2571a", "#e08a4f", "#f2c9ad", "#8a8a8a", "#bdbdbd")
_INK: Final = "#2b2b2b"
_FAINT: Final = "#d9d9d9"
_WIDTH: Final = 0.8


def draw(path: Path, rows: Sequence[Row]) -> bool:
    """Draws into `path`. False without matplotlib, which is an extra of the project, or without anything to draw."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure as Picture
    except ImportError:
        return False
    systems = measured(rows)
    lines = [line for line in LINES if line.more and any(by_round(rows, system, line) for system in systems)]
    if not lines:
        return False
    # The salt and the missing date make one run draw one and the same SVG.
    with rc_context({"font.size": 10, "text.color": _INK, "axes.edgecolor": _FAINT, "svg.hashsalt": "bench"}):
        picture = Picture(figsize=(10, 4.8), layout="constrained")
        axes = picture.add_subplot()
        colors = {True: iter(_OURS), False: iter(_THEIRS)}
        width = _WIDTH / len(systems)
        for place, system in enumerate(systems):
            found = [figure(by_round(rows, system, line).values()) for line in lines]
            at = [number - _WIDTH / 2 + (place + 0.5) * width for number in range(len(lines))]
            heights = [each.median if each else 0.0 for each in found]
            below = [each.median - each.low if each else 0.0 for each in found]
            above = [each.high - each.median if each else 0.0 for each in found]
            entry = SYSTEMS[system]
            axes.bar(
                at, heights, 0.92 * width, yerr=[below, above], label=entry.title,
                color=next(colors[entry.ours], _FAINT), error_kw={"elinewidth": 1, "ecolor": _INK},
            )  # fmt: skip
        axes.set_xticks(range(len(lines)), [line.title for line in lines])
        axes.set_ylabel("operations a second")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(axis="y", color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        picture.legend(loc="outside upper center", frameon=False, ncols=4, fontsize=9)
        picture.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return True

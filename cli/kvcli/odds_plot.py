"""The picture of `kv odds --plot`: the documented chance of survival and the exact one, for each number of nodes.

The height is the number of nines, so that 99.9 % and 99.99 % are as far apart as 90 % and 99 %. The only file that
knows matplotlib, which is an optional extra.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kvcli.extras import needs
from kvstore.availability import YEAR_S, documented_failure, nines, raft_failure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOCUMENTED: Final = "#c2571a"
_EXACT: Final = "#1b4f8a"
_GAP: Final = "#f2c9ad"
_INK: Final = "#2b2b2b"
_FAINT: Final = "#d9d9d9"
_GAPS_NAMED_MAX: Final = 6
_NODES_NAMED_MAX: Final = 20
_DOWNTIMES_S: Final = {
    "100 d": 8_640_000.0,
    "10 d": 864_000.0,
    "1 d": 86_400.0,
    "1 h": 3_600.0,
    "1 min": 60.0,
    "1 s": 1.0,
    "10 ms": 1e-2,
    "100 us": 1e-4,
    "1 us": 1e-6,
}


def draw(path: Path, nodes: list[int], p: float) -> None:
    """Draws documented and exact survival over `nodes` into a .png or .svg file. Raises click.UsageError without
    matplotlib, or if there is nothing to draw because no node ever fails."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise click.UsageError(needs("--plot", "matplotlib", "report")) from None
    curves = [[nines(loss(n, p)) for n in nodes] for loss in (documented_failure, raft_failure)]
    if math.inf in map(max, curves):
        raise click.UsageError(f"--plot: with p = {p:g} some of these clusters practically never fail")
    # The salt and the missing date make one command draw one and the same SVG.
    with rc_context({"font.size": 10.5, "text.color": _INK, "axes.edgecolor": _FAINT, "svg.hashsalt": "kv odds"}):
        figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        _curves(axes, nodes, *curves)
        _scales(axes, nodes, max(map(max, curves)))
        axes.set_title(f"A majority of n nodes, each down with chance {p:g}", loc="left", fontsize=13, pad=14)
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _curves(axes: "Axes", nodes: list[int], documented: list[float], exact: list[float]) -> None:
    even = [i for i, n in enumerate(nodes) if n % 2 == 0]
    axes.plot(
        nodes, documented, "--", marker="o", markersize=9, markerfacecolor="white", markeredgewidth=1.6,
        linewidth=1, color=_DOCUMENTED, zorder=2, label="documented: no majority has failed",
    )  # fmt: skip
    axes.plot(
        nodes, exact, "-", marker="o", markersize=5, linewidth=1.4, color=_EXACT, zorder=3,
        label="exact for Raft: a majority is alive",
    )  # fmt: skip
    low, high = [exact[i] for i in even], [documented[i] for i in even]
    label = "even n: the documented downtime is too low" + " by this factor" * (len(even) <= _GAPS_NAMED_MAX)
    if even:
        axes.vlines([nodes[i] for i in even], low, high, color=_GAP, linewidth=7, zorder=1, label=label)
    for i in even if len(even) <= _GAPS_NAMED_MAX else []:
        factor = 10 ** (documented[i] - exact[i])
        text = f"{factor:.{0 if factor >= 9.95 else 1}f}\N{MULTIPLICATION SIGN}"
        axes.annotate(text, (nodes[i], exact[i]), xytext=(0, -8), textcoords="offset points",
                      color=_DOCUMENTED, fontsize=9.5, ha="center", va="top")  # fmt: skip
    axes.legend(loc="upper left", facecolor="white", edgecolor="white", framealpha=1, fontsize=9.5)


def _scales(axes: "Axes", nodes: list[int], top: float) -> None:
    height = max(1.0, top) * 1.35  # room for the legend
    step = math.ceil(height / 9)
    ticks = range(0, math.floor(height) + 1, step)
    axes.set_ylim(-0.06 * height, height)
    axes.set_yticks(ticks, [_percent(nine) for nine in ticks])
    axes.set_ylabel("survives (higher is better)")
    axes.set_xlabel("nodes")
    if len(nodes) <= _NODES_NAMED_MAX:
        axes.set_xticks(nodes)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    downtime = axes.twinx()
    downtime.set_ylim(axes.get_ylim())
    shown: dict[str, float] = {}
    for label, seconds in _DOWNTIMES_S.items():
        # A label only where the one below leaves room for it.
        if max(shown.values(), default=-height) + height / 20 <= (nine := nines(seconds / YEAR_S)) <= height:
            shown[label] = nine
    downtime.set_yticks(list(shown.values()), list(shown))
    downtime.set_ylabel("down per year")
    downtime.spines[["top", "right", "left"]].set_visible(False)
    downtime.tick_params(length=3, color=_FAINT)


def _percent(nine: int) -> str:
    """The share that so many nines are: 90 %, 99 %, 99.9 %."""
    if nine > 6:
        return f"{nine} nines"
    return f"{100 - 100 * 10.0**-nine:.{max(0, nine - 2)}f} %"

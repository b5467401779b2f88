"""`kv odds`: how likely a cluster of n nodes serves when each node is down with probability p. Asks no node."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import command
from kvcli.sizes import duration
from kvstore.limits import ODDS_NODES_MAX

_COLUMNS: Final = ["n", "majority", "documented", "raft", "one", "quorum", "all", "nines", "down/year"]
# A drawn table has less room: 80 characters hold its frame and these, whatever the figures are.
_NARROW: Final = ["n", "maj.", "docu-\nmented", "raft", "one", "quorum", "all", "nines", "down/\nyear"]


def _nodes(context: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise click.BadParameter(f"{part.strip()!r} is not a number like 3 or a range like 1-9")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= ODDS_NODES_MAX:
            raise click.BadParameter(f"{part.strip()!r} is not within 1-{ODDS_NODES_MAX}")
        chosen.update(range(low, high + 1))
    return sorted(chosen)


def _share(context: click.Context, parameter: click.Parameter, text: str | None) -> Decimal | None:
    """A share of one, exactly as it was written: 0.9999 or 99.99%."""
    if text is None:
        return None
    try:
        share = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        share = Decimal("nan")
    if share.is_nan() or not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r} is not a share from 0 to 1, or from 0% to 100%")
    return share


def _picture(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".png", ".svg"):
        raise click.BadParameter(f"{path} must end in .png or .svg")
    return path


@command(short_help="Tell how likely a cluster of n nodes serves.")
@click.option("--nodes", default="1-9", show_default=True, metavar="N", callback=_nodes, help="3, or 1-9, or 3,5,7.")
@click.option(
    "--p",
    "p",
    default="0.01",
    show_default=True,
    metavar="P",
    callback=_share,
    help="Chance that a node is down: 0.01 or 1%.",
)
@click.option(
    "--target",
    metavar="SHARE",
    callback=_share,
    help="Name the fewest nodes whose quorum is there for that share of time: 99.99% or 0.9999.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    callback=_picture,
    help="Draw documented and exact chance as .png or .svg. Needs matplotlib.",
)
@global_options
def odds(nodes: list[int], p: Decimal, target: Decimal | None, plot: Path | None) -> int:
    """Tell how likely a cluster of n nodes serves while each is down with chance P, independently of the others.

    DOCUMENTED is the chance that no majority fails, RAFT that a majority is alive: for even n the first is too high.
    ONE, QUORUM and ALL are what a client sees that tries every node. NINES (3 is 99.9%) and DOWN/YEAR are those of
    QUORUM. 1-2e-4 stands for 0.9998. docs/availability.md derives all of it.

    Exit code 1 if no number of nodes among those given reaches the target.
    """
    from kvstore.availability import odds_row

    rows = [odds_row(n, float(p)) for n in nodes]
    if plot is not None:
        from kvcli.odds_plot import draw

        draw(plot, nodes, float(p))
    mode = settings().output
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json({"p": float(p), "rows": rows})
    else:
        output.write_rows(_NARROW if mode is Mode.TABLE else _COLUMNS, [_cells(row, float(p)) for row in rows], mode)
        output.flush()
        for n in nodes:
            if n % 2 == 0:
                output.message(_even(n, float(p)))
    return Exit.OK if target is None else _reach(target, nodes, float(p))


def _cells(row: dict[str, Any], p: float) -> list[str]:
    from kvstore.availability import losses

    lost = losses(row["n"], p)
    nines = row["nines"]["quorum"]
    return [
        str(row["n"]),
        str(row["majority"]),
        *(_chance(row[name], loss) for name, loss in lost.items()),
        "-" if nines is None else f"{nines:.1f}",
        duration(row["downtime_s_per_year"]["quorum"]),
    ]


def _chance(chance: float, loss: float) -> str:
    """At most seven characters that keep what matters: the distance to 1 or to 0."""
    if min(chance, loss) >= 1e-4:
        return f"{chance:.4f}"
    small, before = (chance, "") if chance < loss else (loss, "1-")
    if small < 1e-99:
        return f"{chance:.0f}"
    digit, _, exponent = f"{small:.0e}".partition("e")
    return f"{before}{digit}e{int(exponent)}"


def _even(n: int, p: float) -> str:
    from kvstore.availability import overstatement

    too_much = overstatement(n, p)
    documented = f"documented is {too_much:.3g} too high; " if too_much else ""
    return f"even n={n}: {documented}survives {n // 2 - 1} failure{'s' * (n != 4)}, like n={n - 1}"


def _reach(target: Decimal, nodes: list[int], p: float) -> int:
    from kvstore.availability import raft_failure

    allowed = float(1 - target)
    percent = f"{(target * 100).normalize():f}%"
    for n in nodes:
        if raft_failure(n, p) <= allowed:
            output.message(f"{percent} at QUORUM needs n={n}, the fewest of those given")
            return Exit.OK
    output.message(f"{percent} at QUORUM is not reached by any n of those given")
    return Exit.ABSENT

"""A frame as people see it, drawn by rich."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from kvcli.progress import human_bytes
from kvcli.sizes import duration
from kvcli.top.frame import Frame

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_NODES: Final = ("NODE", "ROLE", "LAG", "PENDING", "REQ/S", "5XX/S", "FSYNC", "CONNS", "WATCHES", "MEM", "DISK")
_LOADS: Final = ("REQUESTS", "LEVEL", "OUTCOME", "PER S", "P50", "P99")
_STYLES: Final = {"leader": "bold green", "candidate": "yellow", "learner": "cyan"}


def picture(shown: Frame) -> "Group":
    """All of it, at most 80 columns wide for names of usual length."""
    from rich.console import Group
    from rich.text import Text

    head = (
        f"leader {shown.leader or 'none'}   term {shown.term}   revision {shown.revision:,}   "
        f"commit index {shown.commit_index:,}   keys {_count(shown.keys)}"
    )
    parts: list[Any] = [Text(head, style="bold" if shown.leader else "bold red"), Text("")]
    nodes = _table(_NODES)
    for node in shown.nodes:
        cells = (
            node.name,
            node.role if node.reachable else "down",
            _count(node.lag),
            f"{node.pending:,}" if node.reachable else "-",
            _rate(node.requests_hz),
            _rate(node.errors_hz),
            _seconds(node.sync_p99_s),
            _count(node.connections),
            _count(node.watches),
            _bytes(node.memory_bytes),
            _bytes(node.disk_free_bytes),
        )
        nodes.add_row(*cells, style=_STYLES.get(node.role, "") if node.reachable else "red")
    parts += [nodes, Text("")]
    parts += (
        [_loads(shown)] if shown.loads else [Text("no requests" if shown.seconds else "rates come with the next frame")]
    )
    if shown.statuses:
        parts.append(
            Text("\nanswers a second: " + ", ".join(f"{hz:g} x {code}" for code, hz in shown.statuses.items()))
        )
    for alarm in shown.alarms:
        parts.append(Text(f"alarm {alarm.get('code')} on {alarm.get('node')}: {alarm.get('detail')}", style="bold red"))
    if shown.silent:
        parts.append(Text(f"tell nothing: {', '.join(shown.silent)}", style="red"))
    return Group(*parts)


def _loads(shown: Frame) -> "Table":
    table = _table(_LOADS, 3)
    for load in shown.loads:
        words = load.kind, load.level or "-", load.outcome or "-"
        table.add_row(*words, _rate(load.hz), _seconds(load.p50_s), _seconds(load.p99_s))
    return table


def _table(columns: Iterable[str], words: int = 2) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < words else "right", no_wrap=True)
    return table


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else duration(value)


def _bytes(value: int | None) -> str:
    return "-" if value is None else human_bytes(value).replace(" ", "").replace("iB", "")

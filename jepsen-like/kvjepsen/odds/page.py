"""One offline HTML page of an odds.json: the verdict, the curves with what was observed, cells, subsets. Pure.

A panel for each number of nodes and level: how likely the level is served over the chance that a node is down. Solid is
the exact formula, dashed the documented one, points are what was observed, with their 95 % intervals where trials were
drawn. The page loads nothing.
"""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, Final

from kvjepsen.odds.plan import LEVELS
from kvjepsen.odds.report import COLUMNS, rows
from kvstore.availability import documented_survival, level_availability

_WIDTH, _HEIGHT = 270.0, 190.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 34.0, 10.0, 8.0, 26.0
_STEPS: Final = 80
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #2b2b2b; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.confirmed { color: #1c6b3a; } .refuted { color: #b3261e; } .incomplete { color: #8a5a00; }
.panels { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
figure { margin: 0; } figcaption { font-size: 0.9em; } svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.88em; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 2px 10px 2px 0; border-bottom: 1px solid #e4e4e4; }
td.wrong { background: #f6d5d2; font-weight: bold; } code { font-size: 0.9em; } .faint { color: #777; }
.exact { stroke: #1b4f8a; stroke-width: 1.6; fill: none; }
.documented { stroke: #c2571a; stroke-width: 1.4; stroke-dasharray: 5 3; fill: none; }
.interval { stroke: #2b2b2b; stroke-width: 1.2; } .grid { stroke: #e4e4e4; stroke-width: 1; }
.point { fill: #2b2b2b; } svg text { font-size: 10px; fill: #777; }
"""


def page(document: dict[str, Any]) -> str:
    """The page of an odds.json."""
    return "\n".join(_page(document)) + "\n"


def _page(document: dict[str, Any]) -> Iterator[str]:
    verdict = document["verdict"]
    where = "simulated clusters" if document["simulated"] else "real clusters"
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8"><title>The odds: ' + escape(verdict) + "</title>"
    yield f"<style>{_STYLE}</style></head><body>"
    yield f'<h1>The odds: <span class="{escape(verdict)}">{escape(verdict)}</span></h1>'
    yield f"<p>{document['trials']:,} trials on {where}, fault {_plain(document['fault'])}, "
    yield f"seed {_plain(document['seed'])}.<br><code>{_plain(document['command'])}</code><br><span class=faint>"
    yield ", ".join(f"{_plain(name)} {_plain(value)}" for name, value in document["versions"].items()) + "</span></p>"
    if document["notes"]:
        yield "<ul>" + "".join(f"<li>{_plain(note)}</li>" for note in document["notes"]) + "</ul>"
    if (failover := document["failover_s"]) is not None:
        median, p99, worst = (f"{failover[name]:.2f} s" for name in ("median", "p99", "worst"))
        yield "<p>Failover, measured apart: after SIGKILL of the leader nobody could write for"
        yield f"{median} (median of {failover['rounds']}), p99 {p99}, worst {worst}.</p>"
    if document["unreached"]:
        yield f"<p class=incomplete>Not reached, and not counted: {len(document['unreached']):,} trials.</p>"
    yield "<h2>Served, over the chance that a node is down</h2>"
    yield "<p>Solid: exact. Dashed: the documented formula. Points: observed, with 95 % intervals where trials were"
    yield "drawn. A point without an interval is the sum over all subsets, each weighed with its chance.</p>"
    yield '<div class="panels">'
    for n in sorted({cell["n"] for cell in document["cells"]}):
        for level in LEVELS:
            cells = [cell for cell in document["cells"] if (cell["n"], cell["level"]) == (n, level)]
            yield f"<figure><figcaption>n = {n}, {level.upper()}</figcaption>{_panel(n, level, cells)}</figure>"
    yield "</div><h2>Cells</h2>" + _table(COLUMNS, rows(document["cells"]), last_wrong="refuted")
    if document["subsets"]:
        yield "<h2>Every subset</h2><p>What was served; what should not have been, or should have, is marked.</p>"
        yield _subsets(document["subsets"])
    yield "</body></html>"


def _panel(n: int, level: str, cells: Iterable[dict[str, Any]]) -> str:
    parts = [f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="n = {n}, {level}">']
    for tick in _TICKS:
        parts.append(f'<line class="grid" x1="{_x(0):.1f}" x2="{_x(1):.1f}" y1="{_y(tick):.1f}" y2="{_y(tick):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5:g}" y="{_y(tick) + 3:.1f}" text-anchor="end">{tick:g}</text>')
        parts.append(f'<text x="{_x(tick):.1f}" y="{_HEIGHT - 10:g}" text-anchor="middle">{tick:g}</text>')
    steps = [step / _STEPS for step in range(_STEPS + 1)]
    if level == "quorum":
        parts.append(_curve("documented", [(p, documented_survival(n, p)) for p in steps]))
    parts.append(_curve("exact", [(p, level_availability(level, n, p)) for p in steps]))
    for cell in cells:
        if cell["observed"] is None:
            continue
        x, (low, high) = _x(cell["p"]), cell["ci95"]
        if cell["from"] == "drawn":
            parts.append(f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}"/>')
        parts.append(f'<circle class="point" cx="{x:.1f}" cy="{_y(cell["observed"]):.1f}" r="3"/>')
    return "".join([*parts, "</svg>"])


def _curve(kind: str, points: Iterable[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="' + " ".join(f"{_x(p):.1f},{_y(v):.1f}" for p, v in points) + '"/>'


def _x(p: float) -> float:
    return _LEFT + p * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (_HEIGHT - _TOP - _BOTTOM)


def _table(columns: Iterable[str], lines: Iterable[list[str]], last_wrong: str) -> str:
    head = "".join(f"<th>{_plain(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=wrong' * (cell == last_wrong)}>{_plain(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _subsets(subsets: list[dict[str, Any]]) -> str:
    trials: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for each in subsets:
        trials.setdefault((each["n"], tuple(each["failed"]), each["leader_failed"]), {})[each["level"]] = each
    parts = ["<table><tr><th>n</th><th>failed</th><th>leader</th>" + "".join(f"<th>{x}</th>" for x in LEVELS) + "</tr>"]
    for (n, failed, leader_failed), levels in trials.items():
        parts.append(f"<tr><td>{n}</td><td>{_plain(', '.join(failed) or 'none')}</td>")
        parts.append(f"<td>{'failed' if leader_failed else 'alive'}</td>")
        for level in LEVELS:
            found = levels[level]
            wrong = found["predicted"] != found["observed"]
            parts.append(f"<td{' class=wrong' * wrong}>{'served' if found['observed'] else 'not served'}</td>")
        parts.append("</tr>")
    return "".join([*parts, "</table>"])


def _plain(value: object) -> str:
    return escape(str(value))

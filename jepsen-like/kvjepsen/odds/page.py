"""One offline HTML page of an odds.json: the verdict, the curves with what was observed, cells, lives, subsets. Pure.

The page loads nothing, and its content security policy allows nothing but its own style.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kvjepsen.odds import plot
from kvjepsen.odds.plan import LEVELS
from kvjepsen.odds.report import COLUMNS, OVER_TIME_COLUMNS, over_time_line, over_time_rows, rows
from kvjepsen.report.markup import Child, Html, join, tag

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #2b2b2b; background: #fff; max-width: 64em; margin: 2em auto;
  padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.confirmed { color: #1c6b3a; } .refuted { color: #b3261e; } .incomplete { color: #8a5a00; }
.panels { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
@media (max-width: 45em) { .panels { grid-template-columns: 1fr; } }
figure { margin: 0; } figcaption { font-size: 0.9em; } figure svg { width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; } summary { cursor: pointer; }
table { border-collapse: collapse; font-size: 0.88em; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 2px 10px 2px 0; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
td.wrong { background: #f6d5d2; font-weight: bold; } code { font-size: 0.9em; overflow-wrap: anywhere; }
.faint { color: #666; } .key { display: inline-block; width: 2em; height: 0.7em; overflow: visible; }
"""


def page(document: dict[str, Any]) -> str:
    """The page of an odds.json."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"The odds: {document['verdict']}"),
        tag("style", Html(_STYLE + plot.STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', *_body(document)), lang='en')}\n"


def _body(document: dict[str, Any]) -> Iterator[Html]:
    yield from _verdict(document)
    if document["cells"]:
        yield tag("h2", "Served, over the chance that a node is down")
        yield tag("p", *_keys())
        yield tag("div", *_panels(document["cells"]), class_="panels")
        yield tag("h2", "The same in figures")
        yield tag("p", "WRONG counts single trials in which a level was served though too few nodes were alive, or not "
                       "served though enough were. EXACT may miss one 95 % interval in twenty; it must lie in the "
                       "wider one that is corrected for the number of cells (ci_family in odds.json).")  # fmt: skip
        yield _table(COLUMNS, rows(document["cells"]))
    if document.get("over_time"):
        yield tag("h2", "Nodes that fail and come back by themselves")
        yield tag("p", "What happened, and in brackets what the formulas for the steady state expect. Down, outages "
                       "and their mean length are those of the nodes: too few were alive.")  # fmt: skip
        yield tag("p", "Not served is the share of writes, begun at fixed times, that were not acknowledged; failover "
                       "loss is the part of it for which enough nodes were alive.")  # fmt: skip
        yield _table(OVER_TIME_COLUMNS, over_time_rows(document["over_time"]))
        yield tag("ul", *(tag("li", over_time_line(each)) for each in document["over_time"]))
    if document["subsets"]:
        yield tag("h2", "Every subset")
        yield tag("p", "What was served when these nodes had failed. What should have been served and was not, or the "
                       "reverse, is marked.")  # fmt: skip
        for n in sorted({each["n"] for each in document["subsets"]}):
            of_n = [each for each in document["subsets"] if each["n"] == n]
            wrong = sum(each["predicted"] != each["observed"] for each in of_n)
            title = f"n = {n}: {len(of_n) // len(LEVELS)} trials, {wrong} writes not as predicted"
            yield tag("details", tag("summary", title), _subsets(of_n), open="" if wrong else None)


def _verdict(document: dict[str, Any]) -> Iterator[Html]:
    verdict = document["verdict"]
    where = "simulated clusters" if document["simulated"] else "real clusters"
    versions = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
    yield tag("h1", "The odds: ", tag("span", verdict, class_=verdict))
    yield tag(
        "p",
        f"{document['trials']:,} trials on {where}, fault {document['fault']}, seed {document['seed']}.",
        tag("br"),
        tag("code", document["command"]),
        tag("br"),
        tag("span", versions, class_="faint"),
    )
    if document["notes"]:
        yield tag("ul", *(tag("li", note) for note in document["notes"]))
    if (failover := document["failover_s"]) is not None:
        median, p99, worst = (f"{failover[name]:.2f} s" for name in ("median", "p99", "worst"))
        yield tag("p", "Failover, measured apart: after SIGKILL of the leader nobody could write for "
                       f"{median} (median of {failover['rounds']}), p99 {p99}, worst {worst}.")  # fmt: skip
    if document["unreached"]:
        count = len(document["unreached"])
        yield tag("p", f"Not reached, and not counted: {count:,} trials.", class_="incomplete")


def _keys() -> Iterator[Child]:
    for kind, text in (
        ("exact", "exact. "),
        ("documented", "documented, where it claims something: for QUORUM. For odd n the two are one. "),
    ):
        line = tag("line", x1=0.0, x2=24.0, y1=5.0, y2=5.0, class_=kind)
        yield from (tag("svg", line, class_="key", viewBox="0 0 24 10"), f" {text}")
    yield "Points: observed, with 95 % intervals where trials were drawn; without one it is the sum over all subsets, "
    yield "each weighed with its chance."


def _panels(cells: Sequence[dict[str, Any]]) -> Iterator[Html]:
    for n in sorted({cell["n"] for cell in cells}):
        for level in LEVELS:
            of_panel = [cell for cell in cells if (cell["n"], cell["level"]) == (n, level)]
            yield tag("figure", tag("figcaption", f"n = {n}, {level.upper()}"), plot.panel(n, level, of_panel))


def _table(columns: Iterable[str], lines: Iterable[Sequence[str]]) -> Html:
    head = tag("tr", *(tag("th", column) for column in columns))
    body = (
        tag("tr", *(tag("td", cell, class_="wrong" if cell == "refuted" else None) for cell in line)) for line in lines
    )
    return tag("div", tag("table", head, join(*body)), class_="wide")


def _subsets(subsets: Sequence[dict[str, Any]]) -> Html:
    trials: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for each in subsets:
        trials.setdefault((tuple(each["failed"]), each["leader_failed"]), {})[each["level"]] = each
    lines = [tag("tr", *(tag("th", column) for column in ("failed", "leader", *LEVELS)))]
    for (failed, leader_failed), levels in trials.items():
        cells = [tag("td", ", ".join(failed) or "none"), tag("td", "failed" if leader_failed else "alive")]
        for found in (levels[level] for level in LEVELS):
            wrong = "wrong" if found["predicted"] != found["observed"] else None
            cells.append(tag("td", "served" if found["observed"] else "not served", class_=wrong))
        lines.append(tag("tr", *cells))
    return tag("div", tag("table", *lines), class_="wide")

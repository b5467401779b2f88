"""The failing window as a picture: for each key a group, for each client a lane, for each operation a bar in time.

What the checker names stands out; the rest is what happened around it. Faults are behind. The same operations are in
a table below, for those who want to read rather than look.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from kvjepsen.records import Operation
from kvjepsen.report import bands, words
from kvjepsen.report.axes import RIGHT, picture
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.results import Check, Found
from kvjepsen.report.run import Run
from kvjepsen.report.window import Stretched, Window, moments, window
from kvjepsen.wording import answered, asked

_LEFT: Final = 96.0
_ROW: Final = 20.0
_BAR: Final = 9.0
_CHAR: Final = 6.3
_NARROWEST: Final = 3.0
_TOP: Final = 8.0


class Placed(NamedTuple):
    """A bar, its text, and what both take up in their row."""

    op: Operation
    left: float
    right: float
    label: str
    before: bool
    begins: float
    ends: float


def draw(run: Run, check: Check, found: Found, number: int) -> Html:
    """One finding: what is wrong, the picture, the table."""
    seen = window(run, found)
    parts = [
        tag("h3", f"{number}. {found.problem}"),
        words.paragraph(f"{check.name}: {found.kind}", f", {words.key_name(found.key)}" if found.key else None),
    ]
    if seen.operations:
        parts += [_picture(run, seen), _caption(seen), _table(run, seen.named)]
    if seen.told:
        parts.append(_observations(run, seen))
    if not seen.operations and not seen.told:
        parts.append(words.note("The history has no operation that shows it by itself."))
    return tag("section", *parts, class_="finding", id=f"finding-{number}")


def _picture(run: Run, seen: Window) -> Html:
    all_moments = moments(seen.operations)
    # Room at both ends: an operation of unknown outcome goes on beyond the last answer.
    low, high = min(all_moments), max(all_moments)
    scale = Stretched([*all_moments, low - 1_000_000, high + 1_000_000], _LEFT)
    faults = [fault for fault in run.results.faults if fault.from_ns <= high and run.end_of(fault) >= low]
    strip, y = bands.strip(run, scale.x, _TOP, faults)
    named = {op.i for op in seen.named}
    drawn: list[Html] = []
    for key in dict.fromkeys(op.key for op in seen.operations):
        y += 22
        drawn.append(tag("text", words.key_name(key), x=4.0, y=y - 4, class_="label strong"))
        of_key = [op for op in seen.operations if op.key == key]
        for client in _clients(of_key, named):
            lane, y = _lane(client, [op for op in of_key if op.session == client], scale, y + 3, named)
            drawn.append(lane)
    return picture(
        f"Operations on {', '.join(words.key_name(op.key) for op in seen.named[:1])} by client over time",
        y + 30,
        bands.shade(run, scale.x, _TOP, y) if faults else None,
        _ticks(run, scale, y),
        strip,
        *drawn,
    )


def _clients(operations: Iterable[Operation], named: set[int]) -> list[int | str]:
    """Clients in the order of their first operation, those with one that is named before the others."""
    ordered = sorted(operations, key=lambda op: (op.i not in named, op.i))
    return list(dict.fromkeys(op.session for op in ordered))


def _lane(
    client: int | str, operations: Sequence[Operation], scale: Stretched, top: float, named: set[int]
) -> tuple[Html, float]:
    """The operations of one client, in more than one row where their texts would cover each other."""
    rows: list[float] = []
    line = tag("path", d=Html(f"M4 {top:.1f}H{RIGHT:.0f}"), class_="grid")
    drawn = [line, tag("text", _client_name(client), x=_LEFT - 10, y=top + 14, class_="label end")]
    for op in operations:
        placed = _place(op, scale)
        row = next((row for row, until in enumerate(rows) if until + 6 <= placed.begins), len(rows))
        rows[row : row + 1] = [placed.ends]
        drawn.append(_bar(placed, top + 2 + row * _ROW, known=op.i in named))
    return join(*drawn), top + 4 + _ROW * len(rows)


def _place(op: Operation, scale: Stretched) -> Placed:
    left = scale.x(op.t_ns or 0)
    right = RIGHT if op.answered_ns is None else max(left + _NARROWEST, scale.x(op.answered_ns))
    node = f", {op.node}" if op.node else ""
    label = f"{asked(op, words.short_value)}: {answered(op, words.short_value)}{node}"
    length = _CHAR * len(label) + 6
    ends = right + length
    before = ends > RIGHT
    if op.outcome == "info":
        return Placed(op, left, right, label, before, left - length if before else left, RIGHT)
    return Placed(op, left, right, label, before, left - length if before else left, right if before else ends)


def _bar(placed: Placed, y: float, *, known: bool) -> Html:
    op, middle = placed.op, y + _ROW / 2
    tail = None
    if op.outcome == "info":
        # Nobody knows when it took effect, if ever: it goes on to the end.
        line = Html(f"M{placed.right:.1f} {middle:.1f}H{RIGHT:.0f}")
        tail = tag("path", d=line, class_="tail info")
    anchor = placed.left - 4 if placed.before else placed.right + 4
    return tag(
        "g",
        tag("title", f"operation {op.i}: {placed.label}, level {op.level or 'not told'}"),
        tail,
        tag(
            "rect",
            x=placed.left,
            y=middle - _BAR / 2,
            width=placed.right - placed.left,
            height=_BAR,
            rx=2.0,
            class_=f"bar {op.outcome}",
        ),
        tag("text", placed.label, x=anchor, y=middle + 4, class_=f"label {'end' if placed.before else ''}"),
        class_="op named" if known else "op around",
    )


def _ticks(run: Run, scale: Stretched, bottom: float) -> Html:
    drawn = []
    for moment in scale.ticks(apart=78):
        x = scale.x(moment)
        drawn.append(tag("path", d=Html(f"M{x:.1f} {_TOP:.1f}V{bottom:.1f}"), class_="grid"))
        place = "middle" if x < RIGHT - 30 else "end"
        drawn.append(tag("text", _exact(run, moment), x=x, y=bottom + 15, class_=f"tick {place}"))
    return join(*drawn)


def _caption(seen: Window) -> Html:
    hidden = f" {words.count(seen.hidden, 'more operation')} on it in this time are not drawn." if seen.hidden else ""
    return words.note(
        "Strong: the operations that show it. Pale: others on the same key around them.", hidden,
        " Left to right is time, from request to answer: order and overlap are exact, quiet stretches are shortened, "
        "the seconds below are those of the run. A dashed line: nobody knows when it took effect, if ever.",
    )  # fmt: skip


def _table(run: Run, named: Sequence[Operation]) -> Html:
    head = ["operation", "client", "node", "level", "asked at", "answered at", "asked", "answered"]
    rows = [
        [
            str(op.i), _client_name(op.session), op.node or "-", op.level or "-", _exact(run, op.t_ns),
            _exact(run, op.answered_ns), asked(op, words.value), answered(op, words.value),
        ]
        for op in named
    ]  # fmt: skip
    return words.table(head, rows)


def _observations(run: Run, seen: Window) -> Html:
    rows = [
        [str(told.i), told.node, _exact(run, told.t_ns), ", ".join(f"{k} {v}" for k, v in told.view.items())]
        for told in seen.told
    ]
    return words.table(["line", "node", "at", "said of itself"], rows)


def _client_name(client: int | str) -> str:
    return words.short_value(client if isinstance(client, str) else f"process {client}")[:16]


def _exact(run: Run, moment: int | None) -> str:
    return "never" if moment is None else f"{(moment - run.start_ns) / 1e9:.4f} s"

"""Numbers, times and values in words, the same everywhere on the page."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kvjepsen.report.markup import Child, Html, join, printable, tag

_LABEL_CHARS_MAX: Final = 28
_CELL_CHARS_MAX: Final = 80
_NAMES_MAX: Final = 20


def value(shown: Any) -> str:
    """A value in a table."""
    return _value(shown, _CELL_CHARS_MAX)


def short_value(shown: Any) -> str:
    """A value in a picture."""
    return _value(shown, _LABEL_CHARS_MAX)


def key_name(key: str | None) -> str:
    """A key, or what stands for it in histories of one register."""
    return "the register" if key is None else f"key {_value(key, _CELL_CHARS_MAX)}"


def count(number: int, one: str, many: str | None = None) -> str:
    """1 fault, 2 faults."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds(ns: int) -> str:
    """A moment in the run, 12.3 s; fine enough to tell faults apart."""
    return f"{ns / 1e9:.1f} s"


def milliseconds(ms: float) -> str:
    """A duration with three digits that count: 0.12 ms, 4.5 ms, 320 ms, 2.40 s."""
    if ms >= 1_000:
        return f"{ms / 1_000:.2f} s"
    return f"{ms:.2f} ms" if ms < 1 else f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"


def figure(number: Any) -> str:
    """A count of a checker, whatever it is."""
    if isinstance(number, bool) or number is None:
        return {True: "yes", False: "no", None: "-"}[number]
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:,.3g}" if isinstance(number, float) else printable(str(number), _CELL_CHARS_MAX)


def names(items: Iterable[str]) -> str:
    """n1, n2, n3; the first of many."""
    every = [str(item) for item in items]
    more = f" and {len(every) - _NAMES_MAX:,} more" if len(every) > _NAMES_MAX else ""
    return ", ".join(printable(item, _CELL_CHARS_MAX) for item in every[:_NAMES_MAX]) + more


def plain(name: str) -> str:
    """A name of a program as words: max_staleness becomes max staleness."""
    return name.replace("_", " ")


def note(*text: Any) -> Html:
    """A remark under a picture or table."""
    return tag("p", *text, class_="note")


def left_out(shown: int, there: int, what: str) -> Html | None:
    """Says so where not everything is shown."""
    return None if shown >= there else note(f"The first {shown:,} of {there:,} {what}; the files have the others.")


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], class_: str = "") -> Html:
    """A table that scrolls by itself where the window is narrow."""
    columns = tag("tr", *(tag("th", name, scope="col") for name in head))
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("div", tag("table", tag("thead", columns), tag("tbody", *body), class_=class_ or None), class_="wide")


def paragraph(*text: Any) -> Html:
    """A paragraph of body text."""
    return tag("p", join(*text))


def _value(shown: Any, chars_max: int) -> str:
    if shown is None:
        return "nothing"
    return printable(shown if isinstance(shown, str) else repr(shown), chars_max)

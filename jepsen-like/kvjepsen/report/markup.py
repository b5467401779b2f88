"""HTML and SVG from Python, escaped: a plain string is text and can be nothing else, only `Html` is markup.

Text from outside, such as keys and values, may be anything. So what is not `Html` is made printable, cut, and escaped,
here and nowhere else; a page built with `tag` cannot be broken out of, and stays bounded.
"""

import html
from collections.abc import Iterable
from typing import Final, TypeAlias

from kvstore import limits

# Elements that have no end.
_VOID: Final = frozenset({"br", "meta"})


class Html(str):
    """Markup that is meant as markup."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"


def printable(text: str, chars_max: int = limits.REPORT_TEXT_CHARS_MAX) -> str:
    """Text on one line: what cannot be printed as an escape, the middle cut out of what is too long.

    Escapes of right-to-left marks and the like are part of it: a value cannot make the line around it read differently.
    """
    text = _cut(text, chars_max)
    raw = text.encode("utf-8", "surrogateescape") if _from_bytes(text) else text.encode("utf-8", "backslashreplace")
    shown = raw.decode("utf-8", "backslashreplace")
    # Escapes are longer than what they stand for.
    return _cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown), chars_max)


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Html:
    """An element. Attributes that are None are left out; `class_` is `class`, `data_x` is `data-x`."""
    opened = "".join([name, *(_attribute(key, value) for key, value in attributes.items() if value is not None)])
    return Html(f"<{opened}>" if name in _VOID else f"<{opened}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Several pieces one after the other, those that are not markup escaped."""
    return Html("".join(map(_child, children)))


def number(value: float) -> str:
    """A coordinate: one digit behind the point is a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return html.escape(printable(child), quote=False)
    return f"{child:,}" if isinstance(child, int) else join(*child)


def _attribute(name: str, value: str | float) -> str:
    if isinstance(value, Html):
        text: str = value  # a path: only numbers and letters, as long as it has to be
    else:
        text = html.escape(number(value) if isinstance(value, float) else printable(str(value)))
    return f' {name.rstrip("_").replace("_", "-")}="{text}"'


def _cut(text: str, chars_max: int) -> str:
    if len(text) <= chars_max:
        return text
    return f"{text[: chars_max // 2]}…{text[len(text) - (chars_max - 1) // 2 :]}"


def _from_bytes(text: str) -> bool:
    """Whether its surrogates, if any, stand for bytes that were not UTF-8 (PEP 383)."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True

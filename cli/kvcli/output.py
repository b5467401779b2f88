"""What commands print: data to standard output in one of four modes, messages to standard error.

    simple  for people and simple scripts: plain lines
    table   a drawn table
    json    one document in the shape of the API, on one line
    raw     bytes exactly, nothing added

No colour and no control characters leave here unless they are in a value that was asked for as it is.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvstore.client import WriteResult


# Whether several answers go to one output, so that a line end has to part them.
_apart = False


class Mode(StrEnum):
    """The value of `-o`."""

    SIMPLE = "simple"
    TABLE = "table"
    JSON = "json"
    RAW = "raw"


def write_bytes(data: bytes) -> None:
    """Exactly these bytes to standard output."""
    sys.stdout.buffer.write(data)


def write_line(text: str) -> None:
    """A line of text to standard output, as UTF-8 whatever the locale says."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")


def write_value(value: bytes, mode: Mode) -> None:
    """A value: exact in raw mode and off a terminal; on a terminal, or in a shell, with a line end after it."""
    write_bytes(value)
    if mode is not Mode.RAW and (_apart or sys.stdout.isatty()) and not value.endswith(b"\n"):
        write_bytes(b"\n")


@contextlib.contextmanager
def lines_apart() -> Iterator[None]:
    """Values are parted by line ends meanwhile, but in raw mode."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def write_json(document: Any) -> None:
    """A document on one line."""
    write_line(json.dumps(document, ensure_ascii=False))


def write_write(result: "WriteResult", mode: Mode) -> None:
    """An acknowledged write: its revision and who has it; or, while it is pending, its receipt and how to go on."""
    if mode is Mode.JSON:
        write_json(result.to_json())
    elif mode is Mode.TABLE:
        columns = ["key", "revision", "version", "level", "required", "acked", "outcome", "receipt"]
        shape = {**result.to_json(), "key": printable(result.key)}
        cells = ["-" if shape[column] is None else str(shape[column]) for column in columns]
        write_rows(columns, [cells], mode)
    elif result.outcome == "pending":
        write_line(str(result.receipt) if mode is Mode.RAW else f"pending, receipt {result.receipt}")
    elif mode is Mode.RAW:
        write_line(str(result.revision))
    else:
        write_line(
            f"revision {result.revision}, level {result.level}, acknowledged by {result.acked} "
            f"({result.required} needed)"
        )
    if result.outcome == "pending":
        message(f"it is on the disk of one node; to find out what becomes of it: kv receipt {result.receipt} --wait")


def write_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], mode: Mode) -> None:
    """Rows of text: aligned columns, or a drawn table in table mode."""
    if mode is Mode.TABLE:
        _draw(columns, rows)
        return
    for line in aligned(columns, rows):
        write_line(line)


def write_explained(columns: Sequence[str], rows: Sequence[Sequence[str]], mode: Mode) -> None:
    """Names and a sentence on each. On a terminal a sentence that does not fit goes on below itself."""
    import shutil
    import textwrap

    if mode is Mode.TABLE or not sys.stdout.isatty():
        write_rows(columns, rows, mode)
        return
    room = shutil.get_terminal_size().columns - max(len(name) for name, _ in rows) - 2
    wrapped = [(name, textwrap.wrap(sentence, max(room, 20))) for name, sentence in rows]
    write_rows(columns, [("" if at else name, line) for name, lines in wrapped for at, line in enumerate(lines)], mode)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines with aligned columns."""
    every = [columns, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]


def message(text: str) -> None:
    """A line to standard error. A reader that has left is no reason to fail."""
    _tell(f"kv: {text}")


def continued(text: str) -> None:
    """A line to standard error that belongs to the message before it."""
    _tell(f"    {text}")


def _tell(line: str) -> None:
    """Behind the data that was written before it, where both outputs go to one place."""
    with contextlib.suppress(BrokenPipeError, ValueError):
        flush()
    with contextlib.suppress(BrokenPipeError, ValueError):
        print(line, file=sys.stderr, flush=True)


def printable(data: bytes, width: int | None = None) -> str:
    """Bytes for people: text where it is text, escapes elsewhere, one line, cut to `width` characters."""
    if width is not None:
        data = data[: 4 * width + 4]
    text = data.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if width is None or len(shown) <= width else shown[: width - 1] + "…"


def colourless() -> bool:
    """Whether nothing may be coloured: off a terminal, or where the variable NO_COLOR says so."""
    return not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))


def flush() -> None:
    """Pushes out what is buffered, so that a reader that has left is noticed here and not at exit."""
    sys.stdout.flush()


def abandon_stdout() -> None:
    """After a broken pipe: nothing more can be written, and the interpreter must not try at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import ASCII2, ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    sys.stdout.flush()
    # Off a terminal there is no width to fit into: cutting cells would lose data.
    console = Console(file=sys.stdout, width=None if terminal else 10_000, highlight=False, no_color=colourless())
    table = Table(box=ROUNDED if terminal else ASCII2)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)

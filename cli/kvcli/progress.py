"""Progress of long work, on standard error: a bar on a terminal, else a plain line now and then."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from kvcli import output

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_LINE_S: Final = 5.0


class Progress:
    """Counts units, keys if nothing else is said, and bytes. `total` units are to come, None when nobody knows."""

    def __init__(self, verb: str, total: int | None = None, *, unit: str = "keys") -> None:
        self._unit = unit
        self.keys = 0
        self.bytes = 0
        self._verb = verb
        self._total = total
        self._started = self._spoken = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._verb, total=self._total, size="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def advance(self, size: int = 0) -> None:
        """One more unit, with `size` bytes."""
        self.keys += 1
        self.bytes += size
        if self._bar is not None:
            self._bar.update(self._task, advance=1, size=human_bytes(self.bytes) if self.bytes else "")
            return
        now = time.monotonic()
        if now - self._spoken >= _LINE_S:
            self._spoken = now
            of = "" if self._total is None else f" of {self._total:,}"
            size_text = f", {human_bytes(self.bytes)}" if self.bytes else ""
            output.message(f"{self._verb} {self.keys:,}{of} {self._unit}{size_text}, {self.seconds:.0f} s")


def human_bytes(size: int) -> str:
    """A size for people, in powers of 1,024."""
    if size < 1 << 10:
        return f"{size} B"
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    raise AssertionError(size)


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )

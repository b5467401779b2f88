"""The reports of the harness in a directory, for the web page to show (`ui_reports_dir`): read only, and never anything
else.

A path is walked folder by folder without following a link, by names of letters, digits and a few signs that begin
with none: nothing outside of the directory can be reached, whatever stands in it and whoever changes it meanwhile.
"""

import asyncio
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import msgspec

from kvstore import limits
from kvstore.errors import Overloaded, RouteNotFound

T = TypeVar("T")

_NAME: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.+@=,-]{{0,{limits.UI_REPORT_NAME_CHARS_MAX - 1}}}")
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "json": "application/json",
    "jsonl": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
_PAGES: Final = {"report.html": ("chaos", "results.json"), "odds.html": ("odds", "odds.json")}
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NoSuchReport(Exception):
    """There is no such file, or none that may be shown."""


class ReportBody(msgspec.Struct):
    """A report: `folder`/`page` is its path. `verdict` is null where its results cannot be read."""

    folder: str
    kind: str
    page: str
    verdict: str | None
    title: str
    time_ms: int  # since 1970
    size_bytes: int


class Reports:
    """Reports in a directory; none without one. Bounded: they are read in threads, a few at a time."""

    def __init__(self, directory: str = "") -> None:
        self.directory = directory
        self._reading = 0

    async def all(self) -> list[ReportBody]:
        """The list. Raises Overloaded, RouteNotFound."""
        return await self._in_thread(lambda: reports(self.directory)) if self.directory else []

    async def file(self, path: str) -> bytes:
        """One file. Raises Overloaded, RouteNotFound."""
        if not self.directory:
            raise RouteNotFound("this node has no directory of reports: see the setting ui_reports_dir")
        return await self._in_thread(lambda: read(self.directory, path))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._reading >= limits.UI_REPORTS_READ_AT_ONCE_MAX:
            raise Overloaded("other reports are being read", retry_after_s=1.0)
        self._reading += 1
        try:
            return await asyncio.to_thread(work)
        except NoSuchReport:
            raise RouteNotFound("there is no such report") from None
        except OSError as failed:
            raise RouteNotFound(f"the reports cannot be read: {failed.strerror}") from failed
        finally:
            self._reading -= 1


class _Results(msgspec.Struct):
    """What is shown of results.json and odds.json."""

    verdict: str = ""
    command: str | None = None
    scenario: Any = None
    title: str | None = None


def reports(directory: str) -> list[ReportBody]:
    """The newest first, bounded in number. Raises OSError if the directory cannot be read."""
    found: list[ReportBody] = []
    left = [limits.UI_REPORT_FOLDERS_MAX]
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _look(top, "", 0, found, left)
    finally:
        os.close(top)
    found.sort(key=lambda each: (-each.time_ms, each.folder))
    return found[: limits.UI_REPORTS_MAX]


def _look(folder: int, path: str, depth: int, found: list[ReportBody], left: list[int]) -> None:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name))
    for page, (kind, results) in _PAGES.items():
        if page in names:
            with suppress(OSError, NoSuchReport):
                found.append(_report(folder, path, page, kind, results))
    for name in names if depth < limits.UI_REPORT_DEPTH_FOLDERS_MAX else ():
        if left[0] <= 0:
            return
        with suppress(OSError):
            inner = os.open(name, _READ | os.O_DIRECTORY, dir_fd=folder)
            left[0] -= 1
            try:
                _look(inner, f"{path}{name}/", depth + 1, found, left)
            finally:
                os.close(inner)


def _report(folder: int, path: str, page: str, kind: str, results: str) -> ReportBody:
    with _opened(folder, page) as (_, about):
        size, time_ms = about.st_size, about.st_mtime_ns // 1_000_000
    told = _Results()
    with suppress(OSError, NoSuchReport, msgspec.MsgspecError, RecursionError):
        told = msgspec.json.decode(_read(folder, results, limits.UI_REPORT_RESULTS_BYTES_MAX), type=_Results)
    scenario = told.scenario if isinstance(told.scenario, str) else None
    title = told.title or scenario or told.command or path.rstrip("/").rpartition("/")[2] or page
    most = limits.UI_REPORT_TEXT_CHARS_MAX
    return ReportBody(path.rstrip("/"), kind, page, told.verdict[:most] or None, title[:most], time_ms, size)


def read(directory: str, path: str) -> bytes:
    """A file below the directory. Raises NoSuchReport."""
    *folders, name = path.split("/")
    if len(folders) > limits.UI_REPORT_DEPTH_FOLDERS_MAX or name.rpartition(".")[2] not in TYPES:
        raise NoSuchReport
    if not all(_NAME.fullmatch(each) for each in (*folders, name)):
        raise NoSuchReport
    try:
        at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for each in folders:
                inner = os.open(each, _READ | os.O_DIRECTORY, dir_fd=at)
                os.close(at)
                at = inner
            return _read(at, name, limits.UI_REPORT_BYTES_MAX)
        finally:
            os.close(at)
    except OSError:
        raise NoSuchReport from None


def _read(folder: int, name: str, bytes_max: int) -> bytes:
    with _opened(folder, name) as (file, about):
        if about.st_size > bytes_max:
            raise NoSuchReport
        parts: list[bytes] = []
        room = bytes_max
        while room > 0 and (part := os.read(file, min(1 << 20, room))):
            parts.append(part)
            room -= len(part)
        return b"".join(parts)


@contextmanager
def _opened(folder: int, name: str) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file, and nothing that waits or acts when it is read."""
    file = os.open(name, _READ, dir_fd=folder)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise NoSuchReport
        yield file, about
    finally:
        os.close(file)

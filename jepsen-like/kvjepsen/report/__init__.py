"""The report of a run: one HTML file that needs no network, for people who have never seen this harness.

write(directory)    reads results.json and history.jsonl there, writes report.html beside them
"""

import os
from pathlib import Path
from typing import Final

from kvjepsen.report.page import render
from kvjepsen.report.results import BadResults
from kvjepsen.report.run import read_run

__all__ = ["REPORT", "BadResults", "write"]

REPORT: Final = "report.html"


def write(directory: Path) -> Path:
    """Writes the report of the run in `directory` and returns its path. Raises BadResults, OSError."""
    page = render(read_run(directory))
    path = directory / REPORT
    half = directory / f".{REPORT}.tmp"
    half.write_text(page, encoding="utf-8")
    os.replace(half, path)
    return path

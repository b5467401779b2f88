"""The rows of a run, in its output folder: one line of JSON each, added when it is measured, read when it resumes."""

import json
from pathlib import Path
from typing import Any

from tests.bench.work import Row

ROWS = "rows.jsonl"
RUN = "run.json"


class Rows:
    """All rows of one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / ROWS
        self._run = folder / RUN
        self.rows: list[Row] = []
        if self._path.exists():
            # A line that an interruption cut is measured again.
            for line in self._path.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):
                    self.rows.append(json.loads(line))
            self._path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def add(self, row: Row) -> None:
        """One more, on disk at once."""
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def has(self, turn: int, system: str, work: str) -> bool:
        """Whether that was measured; what failed counts as not."""
        return any(
            (row["round"], row["system"], row["work"]) == (turn, system, work) and "failed" not in row
            for row in self.rows
        )

    def starts(self) -> int:
        """How often the clusters were started for this folder so far."""
        return max((row["round"] for row in self.rows if row["work"] == "rest"), default=0)

    def run(self) -> dict[str, Any] | None:
        """What the folder says of its run, None if it is new."""
        if not self._run.exists():
            return None
        told: dict[str, Any] = json.loads(self._run.read_text(encoding="utf-8"))
        return told

    def describe(self, run: dict[str, Any]) -> None:
        """Writes what `run` reads."""
        self._run.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")

"""The measurement of sustained load runs, for half a minute."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: wrk)")
def test_half_a_minute_is_a_row_and_a_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench.sustained",
        "--out",
        str(tmp_path),
        "--page",
        str(tmp_path / "page.md"),
    ]
    command += ["--minutes", "0.01", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = (json.loads(line) for line in (tmp_path / "sustained.jsonl").read_text().splitlines())
    assert row["puts_per_second"] > 0
    assert row["errors"] == 0
    assert len(set(row["terms"])) == 1
    assert f"| {row['seconds']} | {row['puts_per_second']:,.0f} |" in (tmp_path / "page.md").read_text()

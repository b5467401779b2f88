"""The measurement of growth runs, with few keys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_every_step_is_measured_and_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.scale", "--out", str(tmp_path), "--page", str(tmp_path / "page.md")]
    command += ["--seconds", "1", "--data", str(tmp_path)]
    for keys in ("500", "500,700"):
        done = subprocess.run(
            [*command, "--keys", keys], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "scale.jsonl").read_text().splitlines()]
    assert [row["keys"] for row in rows] == [500, 700]
    for row in rows:
        for name in ("load_seconds", "write_p50_ms", "snapshot_seconds", "restart_seconds", "join_seconds"):
            assert row[name] > 0
    assert "| keys | 500 | 700 |" in (tmp_path / "page.md").read_text()

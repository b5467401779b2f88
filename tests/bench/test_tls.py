"""The measurement of what TLS costs runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_both_sides_are_measured_in_each_round() -> None:
    command = [sys.executable, "-m", "tests.bench.tls", "--rounds", "2", "--seconds", "0.3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "round 2 of 2" in done.stderr
    rows = [line.split()[-5:] for line in done.stdout.splitlines()[1:7]]
    assert len(rows) == 6
    assert all(float(figure.replace(",", "")) > 0 for row in rows for figure in row)

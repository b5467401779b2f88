"""The comparison runs: every system that this machine has, for a second each, in a folder of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


def compare(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.compare", "--out", str(out), "--page", str(out / "page.md")),
            *("--rounds", "1", "--seconds", "1", "--warm", "0", "--data", str(out.parent)),
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_every_system_that_is_here_does_all_its_work_and_the_run_resumes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = compare(out, "--work", "put-64,get-64,stale-64,rest")
    assert part.returncode == 0, part.stderr
    run = json.loads((out / "run.json").read_text())
    assert {"kvstore-http", "kvstore-batch"} <= set(run["systems"])
    assert set(run["systems"]) | set(run["skipped"]) >= {"etcd-http", "etcd-grpc", "zookeeper", "nats", "redis"}
    before = rows(out)
    for row in before:
        assert "failed" not in row, row
        assert not row.get("errors"), row
        assert row["work"] == "rest" or row["server_cpu_us"] > 0
    # One more work: what is there is not done again.
    more = compare(out, "--work", "put-64,failover", "--systems", "kvstore-http")
    assert more.returncode == 0, more.stderr
    added = rows(out)[len(before) :]
    assert [row["work"] for row in added] == ["rest", "failover"]
    assert 0 < added[1]["gap_s"] < 30
    page = (out / "page.md").read_text()
    assert "kvstore HTTP" in page
    assert "PUT/s, 64 in flight" in page

"""The measurement of growth: its table, its rows, its percentiles."""

import json
from pathlib import Path
from typing import Any

from tests.bench import growth, scale


def row(keys: int) -> dict[str, Any]:
    probe = {"p50": 0.5, "p99": 3.25, "worst": 9.0}
    nodes = {"rss_rest_mib": [50.0, 54.6, 51.0], "rss_mib": [60.0, 70.4, 61.0], "rss_peak_mib": [60.0, 80.4, 61.0]}
    speeds = {"load_per_second": 12_345.6, "writes_per_second_at_64": 20_000.0, "write_cpu_us_at_64": 33.3}
    times = {"snapshot_seconds": 1.234, "restart_seconds": 2.0, "join_seconds": 3.456}
    puts = {"write_p50_ms": 0.75, "write_p99_ms": 1.5, "bytes_per_key": 412.7, "disk_mib": [40.0, 41.0, 42.4]}
    return {"keys": keys, **nodes, **speeds, **times, **puts, "snapshot_probe_ms": probe, "idle_probe_ms": probe}


def test_the_table_has_a_column_for_each_number_and_the_highest_of_the_nodes() -> None:
    lines = scale.table([row(10_000), row(1_000)]).splitlines()
    assert lines[0] == "| keys | 1,000 | 10,000 |"
    assert "| RSS of a node, MiB | 70 | 70 |" in lines
    assert "| answer of the loop while it runs, p99 ms | 3.2 | 3.2 |" in lines
    assert len(lines) == 2 + len(scale.LINES)


def test_a_row_that_was_cut_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "scale.jsonl"
    assert scale.read(path) == []
    path.write_text(json.dumps(row(1_000)) + "\n" + json.dumps(row(10_000))[:50])
    assert [each["keys"] for each in scale.read(path)] == [1_000]


def test_lateness_is_told_by_values_that_were_measured() -> None:
    assert growth.late([float(number) for number in range(100, 0, -1)]) == {"p50": 50.0, "p99": 99.0, "worst": 100.0}

"""What grows with the number of keys: memory, snapshots, restarts, the catch-up of an empty node, the cost of a write.

    python -m tests.bench.scale --out DIR [--page docs/benchmarks.md] [--keys 1000,10000,100000,1000000]

For each number of keys a new cluster of three nodes on this machine, keys of 100 bytes; each step of growth.py, one
after the other. A row is written to DIR (scale.jsonl) when its cluster is done; the same command goes on with those
that are missing.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster, NotReady
from kvcluster.topology import FILE_NAME
from kvstore.errors import KvError, LocalError
from tests.bench import growth, page
from tests.bench.procs import NotAvailable
from tests.bench.table import markdown

FILE = "scale.jsonl"
KEYS = (1_000, 10_000, 100_000, 1_000_000)


def measured(keys: int, seconds: float, directory: Path) -> dict[str, Any]:
    """The row of one number of keys. Raises what the steps raise; every process is ended."""
    home = directory / f"keys-{keys}"
    row: dict[str, Any] = {"keys": keys, "seconds": seconds}
    try:
        cluster = bring_up(home, 3)
        rest = growth.resident_mib(cluster)
        steps: list[Callable[[], dict[str, Any]]] = [
            lambda: growth.load(cluster, keys),
            lambda: growth.writes(cluster, keys, seconds),
            lambda: growth.snapshot(cluster),
            lambda: growth.memory(cluster, rest, keys),
            lambda: growth.restart(cluster),
            lambda: growth.join(cluster, home),
        ]
        for step in steps:
            told = step()
            _say(f"{keys:,} keys: {json.dumps(told)}")
            row |= told
    finally:
        if (home / FILE_NAME).exists():
            Cluster.open(home).down()
    return row


LINES: tuple[tuple[str, Callable[[dict[str, Any]], float], int], ...] = (
    ("RSS of a node at rest, MiB", lambda row: max(row["rss_rest_mib"]), 0),
    ("RSS of a node, MiB", lambda row: max(row["rss_mib"]), 0),
    ("RSS of a node at most, MiB", lambda row: max(row["rss_peak_mib"]), 0),
    ("bytes of RSS for each key, above rest", lambda row: row["bytes_per_key"], 0),
    ("disk of a node, MiB", lambda row: max(row["disk_mib"]), 0),
    ("keys/s while loading by batches", lambda row: row["load_per_second"], 0),
    ("PUT, 1 client, p50 ms", lambda row: row["write_p50_ms"], 2),
    ("PUT, 1 client, p99 ms", lambda row: row["write_p99_ms"], 2),
    ("PUT/s, 64 in flight by batches", lambda row: row["writes_per_second_at_64"], 0),
    ("CPU of the servers per such PUT, us", lambda row: row["write_cpu_us_at_64"], 0),
    ("snapshot, s", lambda row: row["snapshot_seconds"], 2),
    ("answer of the loop while it runs, p99 ms", lambda row: row["snapshot_probe_ms"]["p99"], 1),
    ("answer of the loop while it runs, worst ms", lambda row: row["snapshot_probe_ms"]["worst"], 1),
    ("the same at rest, p99 ms", lambda row: row["idle_probe_ms"]["p99"], 1),
    ("restart until ready, s", lambda row: row["restart_seconds"], 2),
    ("empty node until it has caught up, s", lambda row: row["join_seconds"], 2),
)


def table(rows: list[dict[str, Any]]) -> str:
    """All rows, one column each; of three nodes the highest value counts."""
    ordered = sorted(rows, key=lambda row: row["keys"])
    head = ["keys", *(f"{row['keys']:,}" for row in ordered)]
    return markdown(head, [[title, *(f"{of(row):,.{digits}f}" for row in ordered)] for title, of, digits in LINES])


def read(path: Path) -> list[dict[str, Any]]:
    """The rows that are whole."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def main() -> int:
    """Measure what is missing, and print the table; 1 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--page", type=Path, help="page to write the table into")
    parser.add_argument("--keys", type=lambda text: [int(each) for each in text.split(",")], default=list(KEYS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the two measurements of writes")
    parser.add_argument("--data", type=Path, help="where the clusters keep their data: a real disk")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    path, failed = options.out / FILE, False
    rows = read(path)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for keys in options.keys:
        if any(row["keys"] == keys for row in rows):
            continue
        with tempfile.TemporaryDirectory(prefix="kv-scale-", dir=options.data) as directory:
            try:
                row = measured(keys, options.seconds, Path(directory))
            except (NotAvailable, NotReady, KvError, LocalError, OSError) as error:
                _say(f"{keys:,} keys: failed: {error}")
                failed = True
                continue
        rows.append(row)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    if rows:
        text = table(rows)
        print(text)
        if options.page is not None:
            page.put_into(options.page, "scale", text)
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        sys.exit(130)

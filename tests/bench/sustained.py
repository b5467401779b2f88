"""What does not stay flat while a cluster of three works for long: memory, disk, latency, and who leads.

    python -m tests.bench.sustained --out DIR [--page docs/benchmarks.md] [--minutes 10] [--clients 64]

Puts of 100 bytes over 10,000 keys at the leader, by wrk, without a pause but for reading what the processes hold. It
ends with 1 if the term changed, a put failed, or nothing could be measured. Whether the rest is flat is for a reader of
the table to see: how fast a machine is changes while it runs. The rows are written to DIR (sustained.jsonl).
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kvcluster.lifecycle import bring_up
from kvcluster.probe import metric
from kvcluster.supervisor import Cluster, NotReady
from kvcluster.topology import FILE_NAME
from tests.bench import growth, page
from tests.bench.generators import wrk
from tests.bench.procs import NotAvailable
from tests.bench.table import markdown
from tests.bench.work import KEYS, VALUE, Work

FILE: Final = "sustained.jsonl"
SLICE_S: Final = 30


def measured(cluster: Cluster, directory: Path, clients: int, minutes: float) -> list[dict[str, Any]]:
    """A row for every half minute. Raises NotAvailable when nobody leads any more, or wrk cannot run."""
    requests = wrk.write_requests(directory / "puts", ((f"/v1/kv/key{n}", VALUE.decode()) for n in range(KEYS)))
    leader = growth.leader(cluster)
    begun = time.monotonic()
    rows: list[dict[str, Any]] = []
    while time.monotonic() - begun < minutes * 60:
        told = wrk.run(Work("", "put", clients), growth.address(leader), "PUT", requests, SLICE_S)
        rows.append(
            {
                "seconds": round(time.monotonic() - begun),
                "puts_per_second": round(told.operations / told.seconds, 1),
                "p50_ms": told.p50_ms,
                "p99_ms": told.p99_ms,
                "errors": told.errors,
                "rss_mib": [round(each, 1) for each in growth.resident_mib(cluster)],
                "disk_mib": growth.disk_mib(cluster),
                "allocated_blocks": _told(cluster, "kv_python_allocated_blocks"),
                "terms": _told(cluster, "kv_raft_term"),
            }
        )
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _told(cluster: Cluster, name: str) -> list[float]:
    told = [metric(node, name) for node in cluster.topology.nodes]
    values = [value for value in told if value is not None]
    if len(values) < len(told):
        raise NotAvailable(f"a node did not tell {name}")
    return values


LINES: Final[tuple[tuple[str, Callable[[dict[str, Any]], float], int], ...]] = (
    ("s", lambda row: row["seconds"], 0),
    ("PUT/s", lambda row: row["puts_per_second"], 0),
    ("p50 ms", lambda row: row["p50_ms"], 1),
    ("p99 ms", lambda row: row["p99_ms"], 1),
    ("RSS of a node, MiB", lambda row: max(row["rss_mib"]), 0),
    ("blocks allocated, thousands", lambda row: max(row["allocated_blocks"]) / 1_000, 0),
    ("disk of a node, MiB", lambda row: max(row["disk_mib"]), 0),
    ("term", lambda row: max(row["terms"]), 0),
)


def table(rows: list[dict[str, Any]]) -> str:
    """One line for every half minute; of three nodes the highest value counts."""
    cells = [[f"{of(row):,.{digits}f}" for _, of, digits in LINES] for row in rows]
    return markdown([title for title, _, _ in LINES], cells)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--page", type=Path, help="page to write the table into")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64, help="puts in flight")
    parser.add_argument("--data", type=Path, help="where the cluster keeps its data: a real disk")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kv-sustained-", dir=options.data) as directory:
        home = Path(directory) / "kv"
        try:
            rows = measured(bring_up(home, 3), Path(directory), options.clients, options.minutes)
        except (NotAvailable, NotReady) as why:
            print(f"not measured: {why}", file=sys.stderr)
            return 1
        finally:
            if (home / FILE_NAME).exists():
                Cluster.open(home).down()
    (options.out / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = table(rows)
    print(text)
    if options.page is not None:
        page.put_into(options.page, "sustained", text)
    terms = {term for row in rows for term in row["terms"]}
    failed = sum(row["errors"] for row in rows)
    if len(terms) > 1 or failed:
        print(f"terms: {sorted(terms)}; puts that failed: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

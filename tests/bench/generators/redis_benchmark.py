"""redis-benchmark: one thread, keys key:000000000000 to key:000000009999 at random.

It ends after a number of requests, not after a time: a short run before tells how many make up the time.
"""

import csv
import io
import subprocess
from typing import Final

from tests.bench.clusters import tool
from tests.bench.procs import NotAvailable
from tests.bench.work import KEYS, VALUE_BYTES, Told, Work

NAME: Final = "redis-benchmark"

_PILOT: Final = 2_000
_PILOT_ALONE: Final = 200


def key(number: int) -> bytes:
    """The key that redis-benchmark means by a number."""
    return b"key:%012d" % number


def pilot(work: Work, address: str, seconds: float) -> int:
    """How many operations take about so many seconds."""
    told = _run(work, address, _PILOT if work.clients > 1 else _PILOT_ALONE)
    return max(_PILOT_ALONE, int(told.operations / told.seconds * seconds))


def run(work: Work, address: str, operations: int) -> Told:
    """One run of so many. Raises NotAvailable without redis-benchmark, or when it fails."""
    return _run(work, address, operations)


def _run(work: Work, address: str, operations: int) -> Told:
    program = tool("redis-benchmark")
    if program is None:
        raise NotAvailable("redis-benchmark is not installed (Debian: redis-tools)")
    host, _, port = address.partition(":")
    command = [program, "-h", host, "-p", port, "-c", str(work.clients), "-P", "1", "-n", str(operations)]
    command += ["-r", str(KEYS), "-d", str(VALUE_BYTES), "-t", "set" if work.operation == "put" else "get", "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAvailable(f"redis-benchmark ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return parse(done.stdout, operations)


def parse(text: str, operations: int) -> Told:
    """What redis-benchmark printed with --csv for one test. Raises ValueError for anything else."""
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        (row,) = rows
        per_second = float(row["rps"])
        return Told(
            operations,
            operations / per_second,
            operations,
            float(row["p50_latency_ms"]),
            float(row["p99_latency_ms"]),
            float(row["max_latency_ms"]),
        )
    except (KeyError, ValueError, ZeroDivisionError) as wrong:
        raise ValueError(f"not the output of redis-benchmark --csv: {text!r}") from wrong


def version() -> str:
    """Its name, with its version where it is installed."""
    program = tool("redis-benchmark")
    if program is None:
        return NAME
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip() or NAME

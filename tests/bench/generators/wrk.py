"""wrk: HTTP over as many connections as there are to be requests in flight, from one thread."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.bench.clusters import tool
from tests.bench.procs import NotAvailable
from tests.bench.work import VALUE_BYTES, Told, Work

SCRIPT: Final = Path(__file__).with_name("wrk.lua")
NAME: Final = "wrk"

_UNITS_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0}
_SIZES: Final = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def write_requests(path: Path, requests: Iterable[tuple[str, str]]) -> Path:
    """A file for `run`: path and body (empty: none) of each request."""
    path.write_text("".join(f"{target}\t{body}\n" for target, body in requests))
    return path


def run(work: Work, address: str, method: str, requests: Path, seconds: int) -> Told:
    """One run. Raises NotAvailable without wrk, or when it fails."""
    program = tool("wrk")
    if program is None:
        raise NotAvailable("wrk is not installed (Debian: wrk)")
    command = [program, "-t1", f"-c{work.clients}", f"-d{seconds}s", "--latency", "-s", str(SCRIPT)]
    done = subprocess.run(
        [*command, f"http://{address}", "--", method, str(requests)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotAvailable(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return parse(done.stdout, reads=work.operation != "put")


def parse(text: str, *, reads: bool) -> Told:
    """What wrk printed. Answers other than 2xx and 3xx are errors, and so is a read that is too short for its value.

    Raises ValueError for anything else than wrk's output.
    """
    summary = re.search(r"(\d+) requests in ([\d.]+)(\w+), ([\d.]+)([KMGT]?B) read", text)
    if summary is None:
        raise ValueError(f"not the output of wrk: {text!r}")
    operations, seconds = int(summary[1]), float(summary[2]) * _UNITS_MS[summary[3]] / 1_000
    read_bytes = float(summary[4]) * _SIZES[summary[5]]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    error = ", ".join(found[0].strip() for found in (refused, broken) if found) or None
    if reads and operations and read_bytes < operations * VALUE_BYTES:
        errors, error = operations, "the answers are too short to hold the values"
    return Told(
        operations - (int(refused[1]) if refused else 0),
        seconds,
        operations,
        _latency(r"50%", text),
        _latency(r"99%", text),
        _time(re.search(r"Latency(?:\s+\S+){2}\s+([\d.]+)(\w+)", text)),
        errors,
        error,
    )


def _latency(name: str, text: str) -> float:
    return _time(re.search(rf"^\s+{name}\s+([\d.]+)(\w+)", text, re.MULTILINE))


def _time(found: "re.Match[str] | None") -> float:
    if found is None:
        raise ValueError("wrk told no latencies")
    return float(found[1]) * _UNITS_MS[found[2]]


def version() -> str:
    """Its name, with its version where it is installed."""
    program = tool("wrk")
    if program is None:
        return NAME
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])

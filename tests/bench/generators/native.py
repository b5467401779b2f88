"""Generators of our own for systems whose protocol no neutral one speaks: built here, from Debian's packages.

    GENERATOR --endpoints HOST:PORT[,...] --operation OPERATION --clients N --seconds S --warmup S --keys N

OPERATION: `put`, `get`, `stale`; `load` writes every key once. They print one line of JSON at the end, the members of
`Told`. `writes` writes one after the other until its standard input ends, going from endpoint to endpoint, and prints a
dot and a line end for each acknowledgment.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.clusters import tool
from tests.bench.procs import NotAvailable
from tests.bench.work import KEYS, Told, Work

WARMUP_S: Final = 0.5

_HERE: Final = Path(__file__).parent
_GO_SOURCES: Final = Path("/usr/share/gocode")
_PATIENCE_S: Final = 60.0


def go(name: str, needs: str, package: str, directory: Path) -> list[str]:
    """Builds loop.go with NAME.go; the command. `needs`: an import path of the Debian package `package`."""
    compiler = tool("go")
    if compiler is None or not (_GO_SOURCES / "src" / needs).exists():
        raise NotAvailable(f"no generator: needs Go and its library (Debian: golang-go {package})")
    built = directory / f"bench-{name}"
    settings = {"GO111MODULE": "off", "GOPATH": str(_GO_SOURCES), "GOFLAGS": "", "GOCACHE": str(directory / "go-cache")}
    sources = [str(_HERE / "loop.go"), str(_HERE / f"{name}.go")]
    _build([compiler, "build", "-o", str(built), *sources], os.environ | settings)
    return [str(built)]


def c(name: str, header: str, library: str, package: str, directory: Path) -> list[str]:
    """Compiles NAME.c with `library`; the command."""
    compiler = tool("cc") or tool("gcc")
    if compiler is None or not (Path("/usr/include") / header).exists():
        raise NotAvailable(f"no generator: needs a C compiler and a library (Debian: gcc libc6-dev {package})")
    built = directory / f"bench-{name}"
    command = [compiler, "-O2", "-DTHREADED", "-Wall", "-o", str(built), str(_HERE / f"{name}.c")]
    _build([*command, f"-l{library}", "-lpthread"], dict(os.environ))
    return [str(built)]


def _build(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAvailable(f"no generator: {' '.join(command[:2])} failed: {done.stderr.strip()[-300:]}")


def arguments(
    operation: str, endpoints: Sequence[str], clients: int, seconds: float, warmup_s: float, keys: int = KEYS
) -> list[str]:
    """What follows the command."""
    return [
        *("--endpoints", ",".join(endpoints), "--operation", operation, "--clients", str(clients)),
        *("--seconds", f"{seconds:g}", "--warmup", f"{warmup_s:g}", "--keys", str(keys)),
    ]


def run(command: Sequence[str], work: Work, endpoints: Sequence[str], seconds: float, keys: int = KEYS) -> Told:
    """One run. Raises NotAvailable when it fails."""
    return _told([*command, *arguments(work.operation, endpoints, work.clients, seconds, WARMUP_S, keys)], seconds)


def load(command: Sequence[str], endpoints: Sequence[str], keys: int = KEYS, seconds: float = _PATIENCE_S) -> Told:
    """Every key once. Raises NotAvailable unless all are acknowledged, about within `seconds`."""
    told = _told([*command, *arguments("load", endpoints, 32, 0, 0, keys)], seconds)
    if told.operations != keys or told.errors:
        raise NotAvailable(f"{told.operations} of {keys} keys were written: {told.error}")
    return told


def _told(command: list[str], seconds: float) -> Told:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as stuck:
        raise NotAvailable(f"the generator did not end within {stuck.timeout:g} s") from stuck
    if done.returncode:
        raise NotAvailable(f"the generator ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return parse(done.stdout)


def parse(text: str) -> Told:
    """The line that a generator printed. Raises ValueError for another shape."""
    try:
        document: dict[str, Any] = json.loads(text)
        return Told(**document)
    except TypeError as wrong:
        raise ValueError(f"not the line of a generator: {text!r}") from wrong

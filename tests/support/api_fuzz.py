"""Schemathesis against a server: requests made from its /openapi.json, good and bad; each answer is held against it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests/support/schemathesis.toml"


class Fuzzed(NamedTuple):
    """`failures`: nothing, or what was printed about them."""

    cases: int
    failures: str


def fuzz(
    endpoint: str,
    folder: Path,
    *options: str,
    seed: int,
    bound_s: float,
    timeout_ms: int = 0,
    config: Path = CONFIG,
) -> Fuzzed:
    """Runs it. `timeout_ms`: what requests say at most, for a store that waits; `bound_s`: for the whole."""
    report = folder / "report.json"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        f"{endpoint}/openapi.json",
    ]
    command += ["--seed", str(seed), "--report", "json", "--report-json-path", str(report), *options]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.support.api_hooks", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | hooks | {"API_FUZZ_TIMEOUT_MS": str(timeout_ms)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=bound_s,
        check=False,
    )
    if not report.exists():
        return Fuzzed(0, f"{ran.returncode}: {ran.stdout}")
    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    sound = ran.returncode == 0 and told["complete"] and not told["failures"] and not told["errors"]
    return Fuzzed(told["test_cases"]["generated"], "" if sound else ran.stdout)

"""Running `kv` as a user does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def kv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `kv ARGUMENTS` from this source tree, installed or not, without settings from the environment."""
    return run_module("kvcli", *arguments)


def run_module(module: str, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """The same for `python -m MODULE ARGUMENTS`."""
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cluster", "jepsen-like"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )

"""Runs a script of `regressions.stock` in a process of its own and returns what it found.

The adapter of this project changes globals of the engine's modules, so the published engine must never run beside it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT_S_MAX = 60.0


def published(script: str, directory: Path, *, python: str = sys.executable, wrap: tuple[str, ...] = ()) -> Any:
    """The JSON object that `regressions.stock.<script>` prints. It may write to `directory`."""
    command = [*wrap, python, "-m", f"regressions.stock.{script}", str(directory)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "0"}
    ended = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=SCRIPT_S_MAX, check=False
    )
    assert ended.returncode == 0, f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}"
    return json.loads(ended.stdout)

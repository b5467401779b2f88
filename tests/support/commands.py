"""Running `kv` as a user does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What PYTHONPATH is for the packages of this source tree, installed or not.
SOURCES = os.pathsep.join(str(ROOT / part) for part in (".", "cli", "cluster", "jepsen-like"))


def environment() -> dict[str, str]:
    """Ours, with these sources, without settings of `kv`, and with output buffered as people have it."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    ours.pop("PYTHONUNBUFFERED", None)
    return ours | {"PYTHONPATH": SOURCES}


def with_kv(directory: Path) -> dict[str, str]:
    """The same, in which `kv` is that of these sources and `python` the one that has what they need.

    Both are put into `directory`/bin, which is made.
    """
    programs = directory / "bin"
    programs.mkdir()
    for name, arguments in (("kv", "-m kvcli.main "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        program.chmod(0o755)
    return environment() | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def kv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `kv ARGUMENTS` from this source tree, installed or not, without settings from the environment."""
    return run_module("kvcli", *arguments)


def run_module(module: str, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """The same for `python -m MODULE ARGUMENTS`."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )

"""docs/operations.md is true: its commands run from top to bottom, in one shell, on real nodes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvcluster.topology import free_ports

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
REST, _, ABOUT_TLS = PAGE.partition("## Replace certificates")
PRELUDE = """set -euo pipefail -m
trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT
"""
PATIENCE_S = 120


def run_blocks(page: str, directory: Path) -> list[str]:
    """What each block of commands printed."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    # The page names fixed ports, which may be taken here.
    named = sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", page)))
    ports = dict(zip(named, free_ports(len(named)), strict=True))
    script = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[found[1]]}", "\necho +\n".join(blocks))
    path = os.pathsep.join(str(ROOT / part) for part in (".", "cli", "cluster", "jepsen-like"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    command = directory / "bin" / "kv"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kvcli.main "$@"\n')
    command.chmod(0o755)
    shell = subprocess.Popen(
        ["bash", "-c", PRELUDE + script],
        cwd=directory,
        env={**clean, "PYTHONPATH": path, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=(directory / "said").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        shell.wait(timeout=PATIENCE_S)
    finally:
        shell.terminate()  # its trap ends the nodes
        shell.wait()
    said = (directory / "said").read_text()
    parts = said.split("+\n")
    assert (shell.returncode, len(parts)) == (0, len(blocks)), said
    return parts


def test_the_commands_of_the_page_run_from_top_to_bottom(tmp_path: Path) -> None:
    parts = run_blocks(REST, tmp_path)
    assert len(parts) == 6
    assert "red" in parts[2]
    assert "acknowledged by 3" in parts[3]
    assert "green" in parts[4]


@pytest.mark.long
def test_the_commands_about_certificates_run(tmp_path: Path) -> None:
    started, replaced = run_blocks(ABOUT_TLS, tmp_path)
    assert "acknowledged by 1" in started
    assert replaced.count("blue") == 2

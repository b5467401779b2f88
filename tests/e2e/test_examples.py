"""Each file of docs/examples/ runs as it is on a real cluster, and is linked from the page on the client."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kvcluster.pytest_plugin import ClusterFactory
from tests.support.commands import SOURCES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


def test_the_examples_run(kv_cluster: ClusterFactory) -> None:
    endpoints = ",".join(kv_cluster(3).topology.endpoints)
    assert len(EXAMPLES) >= 5

    def run(example: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, example, endpoints],
            env={**os.environ, "PYTHONPATH": SOURCES},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # All at once: they share the cluster, and no key.
    with ThreadPoolExecutor(len(EXAMPLES)) as pool:
        for example, done in zip(EXAMPLES, pool.map(run, EXAMPLES), strict=True):
            assert done.returncode == 0, (example.name, done.stdout, done.stderr)
            assert done.stderr == "", example.name


def test_the_examples_are_linked() -> None:
    page = (ROOT / "docs" / "python-client.md").read_text(encoding="utf-8")
    for example in EXAMPLES:
        assert f"(examples/{example.name})" in page

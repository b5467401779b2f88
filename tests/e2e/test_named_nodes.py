"""Nodes that know each other by host names, as the deployment files have them, run as those say."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alerts.rules import DEPLOY
from tests.support.commands import ROOT, SOURCES

needs_a_network = pytest.mark.skipif(
    shutil.which("unshare") is None or shutil.which("ip") is None or os.geteuid() != 0,
    reason="a network of its own needs root, unshare (util-linux) and ip (iproute2)",
)


@needs_a_network
@pytest.mark.long
@pytest.mark.parametrize("file", ["docker/compose.yml", "kubernetes/statefulset.yml"])
def test_the_nodes_of_a_deployment_find_each_other_by_name_and_outlive_their_leader(file: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.support.named_nodes", DEPLOY / file, tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    logs = "".join(f"{log.name}: {log.read_text()[-600:]}\n" for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    seen = json.loads(done.stdout)
    assert (seen["value"], seen["read"]) == ("after", ["after", "after"])
    # What a node tells clients is the name that its certificate is for, not the address that the name has today.
    assert seen["told"] == seen["endpoints"]

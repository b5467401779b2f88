"""The quickstart's story, shortened: one pass of the standard library, the leader killed in its middle."""

from pathlib import Path

import pytest

from kvcli import quickstart
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import FILE_NAME
from kvjepsen.ledger import Ledger
from tests.support.commands import run_module


async def test_no_key_is_lost_when_the_leader_dies_in_the_middle_of_an_import(
    kv_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "_IMPORT_S_MIN", 0.1)
    cluster = kv_cluster(3)
    story, ledger = quickstart.Story(), Ledger()
    await quickstart.run(cluster, story, ledger)
    print(*(f"{name:<32}{value}" for name, value in quickstart.rows(story, 0)), sep="\n")
    assert story.good
    assert story.passes == 1
    assert story.keys == story.files == len(ledger) > 100
    assert story.files // 2 <= story.written_before < story.files
    assert [audit.reads for audit in story.audits] == [6 * story.keys] * 2
    assert [cluster.state(name) for name in cluster.topology.names] == ["running"] * 3


@pytest.mark.long
def test_the_quickstart_leaves_a_cluster_running_and_says_how_to_stop_it(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    try:
        done = run_module("kvcli.quickstart", "--dir", str(directory), timeout_s=300)
        assert done.returncode == 0, done.stderr
        assert "\nlost                            0\n" in done.stdout
        assert f"cluster down --purge --dir {directory}" in done.stdout
        cluster = Cluster.open(directory)
        assert [cluster.state(name) for name in cluster.topology.names] == ["running"] * 3
    finally:
        if (directory / FILE_NAME).exists():
            cluster = Cluster.open(directory)
            for name in cluster.topology.names:
                cluster.kill(name)

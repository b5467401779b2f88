"""How long nobody can write when the leader dies or falls silent, measured as a user would."""

import json

from kvcluster.pytest_plugin import ClusterFactory
from kvstore import limits
from tests.support.commands import kv

# Not the goal, which a busy machine may miss, but an order of magnitude that only a broken election would.
GAP_S_MAX = 5.0
# One that waits for a silent node, at two endpoints after each other.
CLIENT_GAP_S_MAX = GAP_S_MAX + 2 * limits.WRITE_ATTEMPT_S_MAX


def test_bench_failover_tells_the_gaps_of_each_fault_and_leaves_every_node_running(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    directory = str(cluster.topology.directory)
    done = kv("bench", "failover", "--dir", directory, "--kills", "1", "--pauses", "1", "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["nodes"], told["writers"]) == (3, 6)
    for fault in ("kills", "pauses"):
        assert told[fault]["rounds"] == len(told[fault]["gaps_s"]) == 1
        assert 0 < told[fault]["median_s"] <= told[fault]["worst_s"] < GAP_S_MAX
        assert told["client"][fault]["rounds"] == 1
        assert 0 < told["client"][fault]["worst_s"] < CLIENT_GAP_S_MAX
    assert [cluster.state(name) for name in cluster.topology.names] == ["running"] * 3

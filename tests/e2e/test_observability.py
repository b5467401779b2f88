"""What a running cluster tells of itself: every metric of the table, the protocol's events, whose request was slow."""

import base64
import json
import os
import re
import ssl
from pathlib import Path
from urllib.request import Request, urlopen

from kvcluster.lifecycle import bring_up
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvjepsen import faulty
from kvstore.client import Client, traced
from kvstore.telemetry.catalogue import ROWS

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def exported(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))


def test_a_node_exports_every_metric_of_the_table_and_no_other(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"1 {base64.b64encode(os.urandom(32)).decode()}\n")
    keys.chmod(0o600)
    everything = {
        "KV_AUDIT_LOG": str(tmp_path / "audit"),
        "KV_BACKUP_DIR": str(tmp_path),
        "KV_ENCRYPTION_KEY_FILE": str(keys),
    }
    cluster = bring_up(tmp_path / "c", 1, env=everything, redis=True, tls=True)
    try:
        assert cluster.tls is not None
        with Client(cluster.endpoints, tls=cluster.tls) as client:
            client.put(b"a", b"1")
        context = ssl.create_default_context(cafile=cluster.tls.cacert)
        with urlopen(cluster.endpoints[0] + "/metrics", context=context) as answer:
            text = answer.read().decode()
    finally:
        cluster.down()
    assert exported(text) == set(ROWS)
    for name, row in ROWS.items():
        kind = re.search(rf"^# TYPE {name} (\S+)$", text, re.MULTILINE)
        assert kind is not None
        assert kind[1] == row.kind, name
        for sample in re.findall(rf"^{name}(?:_bucket|_sum|_count)?{{(.*)}} \S+$", text, re.MULTILINE):
            labels = set(re.findall(r'(\w+)="', sample)) - ({"le"} if row.kind == "histogram" else set())
            assert labels == set(row.labels), (name, sample)


def test_a_slow_request_is_told_by_its_id_on_the_node_asked_and_on_the_leader(tmp_path: Path) -> None:
    cluster = bring_up(tmp_path / "c", 3, env={"KV_SLOW_REQUEST_MS": "40"}, program=faulty.PROGRAM)
    try:
        leader = cluster.leader()
        assert leader is not None
        follower = next(node for node in cluster.topology.nodes if node.name != leader)
        for name in cluster.topology.names:
            faulty.order(cluster, name, slow_sync_ms=[60, 61])
        with Client([follower.http]) as client, traced(request_id="order-7", traceparent=PARENT):
            client.put(b"a", b"1", idempotency_key="k")
        here = lines(cluster, follower.name, "slow_request")[-1]
        assert (here["request_id"], here["traceparent"], here["at_level"]) == ("order-7", PARENT, "quorum")
        assert here["ms"] > 40
        there = lines(cluster, leader, "slow_call")[-1]
        assert (there["request_id"], there["traceparent"], there["of"]) == ("order-7", PARENT, follower.name)
        with urlopen(follower.http + "/metrics") as answer:
            assert re.search(r"^kv_slow_requests_total [1-9]", answer.read().decode(), re.MULTILINE)
    finally:
        cluster.down()


def lines(cluster: Cluster, name: str, event: str) -> list[dict[str, str]]:
    text = cluster.topology.log_path(name).read_text()
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def test_the_trace_tells_of_a_leader_that_was_killed_and_of_the_votes_for_the_next(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    before = cluster.leader()
    assert before is not None
    events = trace(cluster, before)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    term = next(event["term"] for event in events if event["event"] == "leads")
    cluster.kill(before)
    others = [name for name in cluster.topology.names if name != before]
    with Client([cluster.topology.node(name).http for name in others]) as client:
        client.put(b"a", b"1")
        after = client.cluster().leader
    assert after in others
    won = [event for event in trace(cluster, after) if event["event"] == "leads"]
    assert won[-1]["term"] > term
    voter = next(name for name in others if name != after)
    granted = [event for event in trace(cluster, voter) if event["event"] == "vote_granted"]
    assert (granted[-1]["to"], granted[-1]["term"]) == (after, won[-1]["term"])
    asked = Request(cluster.topology.node(after).http + f"/debug/trace?from={won[-1]['seq']}&limit=1")
    with urlopen(asked) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert json.loads(answer.read()) == won[-1]


def trace(cluster: Cluster, name: str) -> list[dict[str, object]]:
    with urlopen(cluster.topology.node(name).http + "/debug/trace") as answer:
        return [json.loads(line) for line in answer.read().splitlines()]

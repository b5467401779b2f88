"""Requests made from /openapi.json, good and bad, to a real cluster: documented answers, and it goes on serving."""

import json
import urllib.request
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from tests.support.api_fuzz import fuzz


def ask(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method), timeout=10) as answer:
        return answer.read()


def test_every_node_serves_the_document(kv_cluster: ClusterFactory) -> None:
    documents = {ask(f"{node.http}/openapi.json") for node in kv_cluster(3).topology.nodes}
    assert len(documents) == 1
    assert json.loads(documents.pop())["openapi"] == "3.1.0"


@pytest.mark.long
def test_whatever_is_asked_of_a_cluster_it_answers_as_documented_and_goes_on(
    kv_cluster: ClusterFactory, tmp_path: Path
) -> None:
    nodes = kv_cluster(3).topology.nodes
    for seed, node in enumerate(nodes, start=1):
        folder = tmp_path / node.name
        folder.mkdir()
        # The boundary cases are the same each time; the other nodes have random ones.
        phases = "coverage,fuzzing,stateful" if seed == 1 else "fuzzing,stateful"
        options = ("--phases", phases, "--max-examples", "20", "--exclude-path", "/v1/auth/enable")
        ran = fuzz(node.http, folder, *options, seed=seed, bound_s=900, timeout_ms=300)
        assert not ran.failures, ran.failures
        assert ran.cases > 500
    for node in nodes:
        ask(f"{node.http}/v1/kv/after?level=all", "PUT", node.name.encode())
        for other in nodes:
            assert ask(f"{other.http}/v1/kv/after") == node.name.encode()

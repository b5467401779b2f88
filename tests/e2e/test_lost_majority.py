"""Two of three nodes gone: writes are refused at once and for certain, and work again when one is back."""

import asyncio
import json
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient
from tests.support.commands import kv


def put(endpoint: str, key: str, value: bytes) -> tuple[int, dict[str, Any], float]:
    """Status, answer and seconds of a PUT over plain HTTP: no library tries again behind our back."""
    request = urllib.request.Request(f"{endpoint}/v1/kv/{key}", data=value, method="PUT")
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer), time.monotonic() - started
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused), time.monotonic() - started


def kv_put(cluster: Cluster, key: str, value: str) -> subprocess.CompletedProcess[str]:
    return kv("--endpoints", ",".join(cluster.topology.endpoints), "put", key, value)


@pytest.mark.parametrize("survivor_leads", [True, False])
async def test_a_write_without_a_majority_is_refused_at_once(kv_cluster: ClusterFactory, survivor_leads: bool) -> None:
    cluster = kv_cluster(3)
    names = cluster.topology.names
    leader = cluster.leader()
    assert leader is not None
    survivor = leader if survivor_leads else next(name for name in names if name != leader)
    endpoint = cluster.topology.node(survivor).http
    assert put(endpoint, "before", b"1")[0] == 200
    killed = [name for name in names if name != survivor]
    for name in killed:
        cluster.kill(name)
    await asyncio.sleep(2)  # the promise is about two seconds later

    status, problem, seconds = put(endpoint, "refused", b"x")
    assert (status, problem["code"], problem["outcome"]) == (503, "no_quorum", "not_applied")
    assert seconds < 0.5

    refused = kv_put(cluster, "refused", "x")
    assert refused.returncode == 4
    assert "Nothing was applied" in refused.stderr

    cluster.restart(killed[0])
    assert kv_put(cluster, "accepted", "y").returncode == 0
    async with AsyncClient([endpoint]) as client:
        assert await client.get_value(b"before") == b"1"
        assert await client.get_value(b"refused") is None
        assert await client.get_value(b"accepted") == b"y"

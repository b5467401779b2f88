"""`kv bench` on a real cluster of three: every workload by every door, briefly; its keys are gone afterwards."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcli.bench.doors import DOORS
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvstore.client import Client
from tests.support.commands import kv


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("bench") / "kv"
    cluster = bring_up(directory, 3, redis=True)
    yield cluster
    cluster.down()


def bench(cluster: Cluster, *arguments: str) -> Any:
    done = kv(
        *("--endpoints", ",".join(cluster.endpoints), "--timeout", "20", "-o", "json"),
        *("bench", *arguments, "--seconds", "1", "--warmup", "0.2", "--keys", "200"),
        *("--redis-endpoints", ",".join(node.redis or "" for node in cluster.topology.nodes)),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["errors"] == []
    assert told["operations"] > 0
    # Who leads may change meanwhile.
    assert told["nodes"] == 3
    assert told["leader"] in cluster.topology.names
    # Deletes at level one are acknowledged before they are applied.
    deadline = time.monotonic() + 20
    with Client(cluster.endpoints, timeout_s=20) as client:
        while client.range(prefix=b"bench/").count:
            assert told["level"] == "one"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    return told


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("workload", ["put", "get", "mixed"])
def test_each_load_by_each_door(cluster: Cluster, workload: str, door: str) -> None:
    told = bench(cluster, workload, "--door", door, "--clients", "32")
    assert (told["workload"], told["door"], told["clients"]) == (workload, door, 32)
    assert sum(told["rate"]["operations_per_second"]) > 0


@pytest.mark.parametrize("level", ["one", "all"])
def test_put_at_the_other_levels(cluster: Cluster, level: str) -> None:
    assert bench(cluster, "put", "--level", level)["level"] == level


def test_batches(cluster: Cluster) -> None:
    told = bench(cluster, "batch", "--batch", "50", "--reads", "20", "--clients", "4")
    assert told["operations"] % 50 == 0


@pytest.mark.parametrize("level", ["one", "all"])
def test_pipelines_of_the_redis_door_at_the_other_levels(cluster: Cluster, level: str) -> None:
    told = bench(cluster, "batch", "--door", "redis", "--batch", "50", "--clients", "4", "--level", level)
    assert (told["door"], told["level"], told["operations"] % 50) == ("redis", level, 0)


def test_watches_at_every_node_see_every_put(cluster: Cluster) -> None:
    told = bench(cluster, "watch", "--watches", "6", "--clients", "4")
    assert told["operations"] == 6 * told["by_operation"]["put"]["operations"]

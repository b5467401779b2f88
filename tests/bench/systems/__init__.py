"""What is compared, one file each: a cluster, a way to it, and a load generator for that way.

A system's file has a class `Bench` with the members of `System`; to add a system is to add its file and its row here.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

from tests.bench.clusters import Place, Running
from tests.bench.work import Told, Work

Measurement = Callable[[], Told]


class System(Protocol):
    """One way to one cluster. Everything that cannot be done here raises NotAvailable."""

    generator: str
    works: frozenset[str]

    def preload(self) -> None:
        """Write 10,000 keys of 100 bytes."""
        ...

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        """Prepare one run against the leader; what it gives is then called and measured."""
        ...

    def writer(self) -> list[str]:
        """A command as native.py describes `writes`: one write after the other, over the end of nodes."""
        ...


class Entry(NamedTuple):
    """`module`: its file; `cluster`: of CLUSTERS; `title`: for people; `ours`: whether it is this store."""

    module: str
    cluster: str
    title: str
    ours: bool = False
    caveat: str = ""


CLUSTERS: Final = {
    "kvstore": "tests.bench.clusters.kv:KvCluster",
    "etcd": "tests.bench.clusters.etcd:EtcdCluster",
    "zookeeper": "tests.bench.clusters.zookeeper:ZooKeeperCluster",
    "nats": "tests.bench.clusters.nats:NatsCluster",
    "redis": "tests.bench.clusters.redis:RedisServer",
}

SYSTEMS: Final = {
    "kvstore-http": Entry("tests.bench.systems.kvstore_http", "kvstore", "kvstore HTTP", True),
    "kvstore-batch": Entry("tests.bench.systems.kvstore_batch", "kvstore", "kvstore batches", True),
    "kvstore-redis": Entry("tests.bench.systems.kvstore_redis", "kvstore", "kvstore Redis door", True),
    "etcd-http": Entry("tests.bench.systems.etcd_http", "etcd", "etcd HTTP gateway"),
    "etcd-grpc": Entry("tests.bench.systems.etcd_grpc", "etcd", "etcd gRPC"),
    "zookeeper": Entry(
        "tests.bench.systems.zookeeper",
        "zookeeper",
        "ZooKeeper",
        caveat="its linearizable GET is a sync and a read, which the leader answers without asking the others: weaker",
    ),
    "nats": Entry(
        "tests.bench.systems.nats",
        "nats",
        "NATS KV",
        caveat="its linearizable GET is answered by the leader without asking the others: weaker",
    ),
    "redis": Entry(
        "tests.bench.systems.redis",
        "redis",
        "Redis, one server",
        caveat="no replica and no consensus: a bound for one process, not a peer",
    ),
}


def start(cluster: str, directory: Path) -> Running:
    """Starts a cluster of CLUSTERS below `directory`. Raises NotAvailable."""
    return cast(Running, _named(CLUSTERS[cluster])(directory))


def bench(system: str, running: Running, directory: Path) -> System:
    """The system on its cluster. Raises NotAvailable."""
    return cast(System, _named(f"{SYSTEMS[system].module}:Bench")(running, directory))


def _named(where: str) -> Callable[..., object]:
    module, _, name = where.partition(":")
    return cast(Callable[..., object], getattr(importlib.import_module(module), name))

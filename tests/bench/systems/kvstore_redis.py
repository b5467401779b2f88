"""This store over its Redis door, loaded by redis-benchmark without pipelining."""

from pathlib import Path
from typing import cast

from tests.bench.clusters import Place, Running
from tests.bench.clusters.kv import KvCluster
from tests.bench.clusters.redis import ask
from tests.bench.generators import redis_benchmark
from tests.bench.procs import NotAvailable
from tests.bench.systems import Measurement
from tests.bench.work import KEYS, LOADS, VALUE, Work

_TOGETHER = 500


class Bench:
    """See System. redis-benchmark cannot ask for another level first: no stale reads."""

    generator = redis_benchmark.NAME
    works = frozenset(name for name, work in LOADS.items() if work.operation != "stale")

    def __init__(self, running: Running, directory: Path) -> None:
        self.generator = redis_benchmark.version()
        self._running = cast(KvCluster, running)

    def preload(self) -> None:
        address = self._running.redis_address(self._running.leader())
        for first in range(0, KEYS, _TOGETHER):
            keys = [redis_benchmark.key(number) for number in range(first, first + _TOGETHER)]
            if set(ask(address, [[b"SET", key, VALUE] for key in keys])) != {b"+OK"}:
                raise NotAvailable("the Redis door did not take the keys")

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        address = self._running.redis_address(leader)
        operations = redis_benchmark.pilot(work, address, seconds)
        return lambda: redis_benchmark.run(work, address, operations)

    def writer(self) -> list[str]:
        raise NotAvailable("the failover of this store is measured over HTTP")

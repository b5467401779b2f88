"""This store over its Redis door, loaded by redis-benchmark without pipelining."""

from typing import cast

from tests.bench.clusters import Place
from tests.bench.clusters.kv import KvCluster
from tests.bench.procs import NotAvailable
from tests.bench.systems import redis


class Bench(redis.Bench):
    """See System. redis-benchmark cannot ask for another level first: no stale reads."""

    def address(self, place: Place) -> str:
        return cast(KvCluster, self._running).redis_address(place)

    def writer(self) -> list[str]:
        raise NotAvailable("the failover of this store is measured over HTTP")

"""One Redis server, loaded by redis-benchmark without pipelining."""

from pathlib import Path

from tests.bench.clusters import Place, Running
from tests.bench.clusters.redis import ask
from tests.bench.generators import redis_benchmark
from tests.bench.procs import NotAvailable
from tests.bench.systems import Measurement
from tests.bench.work import KEYS, LOADS, VALUE, Work

_TOGETHER = 500


class Bench:
    """See System. There is nobody to take over, and no read that is staler than another."""

    generator = redis_benchmark.NAME
    works = frozenset(name for name, work in LOADS.items() if work.operation != "stale")

    def __init__(self, running: Running, directory: Path) -> None:
        self.generator = redis_benchmark.version()
        self._running = running

    def address(self, place: Place) -> str:
        """Where the Redis protocol is spoken."""
        return place.address

    def preload(self) -> None:
        address = self.address(self._running.leader())
        for first in range(0, KEYS, _TOGETHER):
            keys = [redis_benchmark.key(number) for number in range(first, first + _TOGETHER)]
            if set(ask(address, [[b"SET", key, VALUE] for key in keys])) != {b"+OK"}:
                raise NotAvailable(f"Redis at {address} did not take the keys")

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        address = self.address(leader)
        operations = redis_benchmark.pilot(work, address, seconds)
        return lambda: redis_benchmark.run(work, address, operations)

    def writer(self) -> list[str]:
        raise NotAvailable("a single server has no failover")

"""NATS by a JetStream key-value bucket, loaded by a generator in Go on its own library."""

from pathlib import Path

from tests.bench.clusters import Place, Running
from tests.bench.generators import native
from tests.bench.systems import Measurement
from tests.bench.work import FAILOVER, LOADS, Work


class Bench:
    """See System."""

    generator = "nats.go (NATS's Go library)"
    works = frozenset({*LOADS, FAILOVER})

    def __init__(self, running: Running, directory: Path) -> None:
        self._running = running
        needs = "github.com/nats-io/nats.go"
        self._command = native.go("nats", needs, "golang-github-nats-io-go-nats-dev", directory)

    def preload(self) -> None:
        native.load(self._command, [self._running.leader().address])

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        return lambda: native.run(self._command, work, [leader.address], seconds)

    def writer(self) -> list[str]:
        return [*self._command, *native.arguments("writes", self._running.addresses, 1, 0, 0)]

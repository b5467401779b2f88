"""This store by the client library's automatic batches: as many concurrent calls as there are to be in flight."""

from pathlib import Path

from tests.bench.clusters import Place, Running
from tests.bench.generators import native
from tests.bench.systems import Measurement
from tests.bench.systems.kvstore_http import CLIENT
from tests.bench.work import LOADS, Work


class Bench:
    """See System."""

    generator = "client library (Python)"
    works = frozenset(LOADS)

    def __init__(self, running: Running, directory: Path) -> None:
        self._running = running

    def preload(self) -> None:
        native.load(CLIENT, self._running.addresses)

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        return lambda: native.run([*CLIENT, "--door", "batch"], work, [leader.address], seconds)

    def writer(self) -> list[str]:
        return [*CLIENT, *native.arguments("writes", self._running.addresses, 1, 0, 0)]

"""This store over HTTP, loaded by wrk. The failover is seen by the client library."""

import sys
from pathlib import Path

from tests.bench.clusters import Place, Running
from tests.bench.generators import native, wrk
from tests.bench.systems import Measurement
from tests.bench.work import FAILOVER, KEYS, LOADS, VALUE, Work

CLIENT = [sys.executable, "-m", "tests.bench.generators.kv_client"]


class Bench:
    """See System."""

    generator = wrk.NAME
    works = frozenset({*LOADS, FAILOVER})

    def __init__(self, running: Running, directory: Path) -> None:
        self.generator = wrk.version()
        self._running = running
        paths = {"put": ("", VALUE.decode()), "get": ("", ""), "stale": ("?level=one", "")}
        self._requests = {
            operation: wrk.write_requests(
                directory / f"kvstore-{operation}", ((f"/v1/kv/key{n}{query}", body) for n in range(KEYS))
            )
            for operation, (query, body) in paths.items()
        }

    def preload(self) -> None:
        native.load(CLIENT, self._running.addresses)

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        method = "PUT" if work.operation == "put" else "GET"
        return lambda: wrk.run(work, leader.address, method, self._requests[work.operation], seconds)

    def writer(self) -> list[str]:
        return [*CLIENT, *native.arguments("writes", self._running.addresses, 1, 0, 0)]

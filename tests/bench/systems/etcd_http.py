"""etcd by its HTTP gateway (JSON, keys and values in base64), loaded by wrk."""

import base64
import json
import sys
from pathlib import Path

from tests.bench.clusters import Place, Running
from tests.bench.clusters.etcd import post
from tests.bench.generators import native, wrk
from tests.bench.procs import NotAvailable
from tests.bench.systems import Measurement
from tests.bench.work import FAILOVER, KEYS, LOADS, VALUE, Work

# What etcd takes in one transaction, by default.
_TOGETHER = 128


class Bench:
    """See System."""

    generator = wrk.NAME
    works = frozenset({*LOADS, FAILOVER})

    def __init__(self, running: Running, directory: Path) -> None:
        self.generator = wrk.version()
        self._running = running
        bodies = {"put": put_body, "get": get_body, "stale": stale_body}
        paths = {"put": "/v3/kv/put", "get": "/v3/kv/range", "stale": "/v3/kv/range"}
        self._requests = {
            operation: wrk.write_requests(
                directory / f"etcd-{operation}",
                ((paths[operation], json.dumps(body(b"key%d" % n), separators=(",", ":"))) for n in range(KEYS)),
            )
            for operation, body in bodies.items()
        }

    def preload(self) -> None:
        for first in range(0, KEYS, _TOGETHER):
            puts = [{"requestPut": put_body(b"key%d" % n)} for n in range(first, min(first + _TOGETHER, KEYS))]
            try:
                post(self._running.leader().address, "/v3/kv/txn", {"success": puts})
            except OSError as failed:
                raise NotAvailable(f"etcd did not take the keys: {failed}") from failed

    def ready(self, work: Work, leader: Place, seconds: int) -> Measurement:
        return lambda: wrk.run(work, leader.address, "POST", self._requests[work.operation], seconds)

    def writer(self) -> list[str]:
        command = [sys.executable, "-m", "tests.bench.generators.etcd_writer"]
        return [*command, *native.arguments("writes", self._running.addresses, 1, 0, 0)]


def put_body(key: bytes) -> dict[str, object]:
    """PutRequest in JSON."""
    return {"key": _text(key), "value": _text(VALUE)}


def get_body(key: bytes) -> dict[str, object]:
    """RangeRequest of one key, linearizable."""
    return {"key": _text(key)}


def stale_body(key: bytes) -> dict[str, object]:
    """The same, answered by the node that is asked."""
    return {"key": _text(key), "serializable": True}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()

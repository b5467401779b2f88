"""Requests made from /openapi.json, good and bad, over a real socket: every answer is one that it documents."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvstore.http import HttpServer
from kvstore.http.routes import ROUTES
from kvstore.model import commands
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore
from tests.support.api_fuzz import fuzz

KEYS = 20
ENABLE = "/v1/auth/enable"
# Nobody has a password, and there is no directory of reports.
NOTHING_THERE = ("/v1/auth/token", "/v1/reports/{path}")


class Served:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.server = HttpServer(self.store, self.metrics, listen=("127.0.0.1", 0), shutdown_s=2.0)

    @property
    def endpoint(self) -> str:
        host, port = self.server.address
        return f"http://{host}:{port}"

    def answered(self) -> dict[tuple[str, str], set[int]]:
        """Method and path to the statuses that were answered."""
        found: dict[tuple[str, str], set[int]] = {}
        sample = r'^kv_http_requests_total\{method="(\w+)",route="([^"]+)",status="(\d+)"\}'
        for method, path, status in re.findall(sample, self.metrics.exposition("")[0].decode(), re.MULTILINE):
            found.setdefault((method, path), set()).add(int(status))
        return found


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    # Leases and keys whose ids and revisions are small numbers, so that some requests meet them.
    for number in range(KEYS):
        served.store._apply(commands.grant(60_000, None))
        served.store._apply(commands.put(b"%d" % number, b"v"))
    await served.server.start()
    yield served
    await served.server.close()


async def test_every_answer_to_good_and_bad_requests_is_a_documented_one(served: Served, tmp_path: Path) -> None:
    # HEAD is GET without a body. The boundary cases of a transaction are most of all there are: here it has random ones
    # only. The long test has all of both.
    for options in (
        (
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "3",
            "--exclude-method",
            "HEAD",
            "--exclude-path",
            "/v1/txn",
            "--exclude-path",
            ENABLE,
        ),
        ("--phases", "fuzzing", "--max-examples", "50", "--include-path", "/v1/txn"),
        # From then on all is refused but what says who sends it (tests/integration/test_auth_door.py).
        ("--phases", "coverage,fuzzing", "--max-examples", "3", "--include-path", ENABLE),
    ):
        ran = await asyncio.to_thread(fuzz, served.endpoint, tmp_path, *options, seed=1, bound_s=300)
        assert not ran.failures, ran.failures
        assert ran.cases >= 20
    answered = served.answered()
    for route in ROUTES:
        statuses = answered[route.method, route.path]
        assert 500 not in statuses, route
        assert min(statuses) < 300 or route.path in NOTHING_THERE, (
            f"{route.method} {route.path} never did anything: {statuses}"
        )
        takes = route.operation.query.parameters or route.operation.body
        assert not takes or any(400 <= status < 500 for status in statuses), f"{route.path} refused nothing"


async def test_the_document_is_plain_json(served: Served) -> None:
    reader, writer = await asyncio.open_connection(*served.server.address)
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Type: application/json" in head
    assert b"ETag" not in head
    assert json.loads(body)["openapi"] == "3.1.0"

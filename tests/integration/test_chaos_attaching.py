"""Before a run against a cluster of others: whether anybody answers there, and what is said."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from kvcli import main
from kvjepsen.access import OPEN
from kvjepsen.attaching import NobodyThere, announced, greet
from kvjepsen.plan import Plan
from kvstore import limits
from kvstore.errors import Unauthenticated


@pytest.fixture
def dead() -> str:
    """Where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def mute() -> Iterator[str]:
    """Who accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


class Door:
    """A node's answer to GET /v1/cluster."""

    def __init__(self, status: int, body: dict[str, str]) -> None:
        self._status, self._body = status, body

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_get("/v1/cluster", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *ended: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        kind = "application/json" if self._status == 200 else "application/problem+json"
        return web.json_response(self._body, status=self._status, content_type=kind)


def test_a_run_against_dead_endpoints_ends_before_it_begins(
    dead: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    assert main.run(["chaos", "run", "--endpoints", dead, "--out", str(tmp_path / "out")]) == 3
    assert time.monotonic() - begun < 2 * limits.CHAOS_ATTACH_S_MAX
    said = capsys.readouterr().err
    assert f"the endpoint does not answer ({dead}: connection refused). Nothing was written" in said
    assert not (tmp_path / "out").exists()


async def test_who_accepts_and_says_nothing_is_not_waited_for_long(
    dead: str, mute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHAOS_ATTACH_S_MAX", 0.2)
    with pytest.raises(NobodyThere, match="none of the 2 endpoints answers"):
        await greet({"a": dead, "b": mute}, OPEN)


async def test_one_that_answers_is_enough_and_the_others_are_named(dead: str) -> None:
    async with Door(200, {}) as there:
        nodes = {"a": dead, "b": there}
        silent = await greet(nodes, OPEN)
    assert [each.url for each in silent] == [dead]
    first, *others = announced(Plan(workloads=("register", "set")), nodes, silent)
    assert "keys that begin with register/, set/ are written to it, and chaos/last; they stay there" in first
    assert [line.partition(":")[2].startswith("//127.0.0.1") for line in others] == [True]
    assert f"{dead} does not answer: " in others[0]


async def test_who_lets_nobody_in_says_why(dead: str) -> None:
    problem = {"type": "urn:kvstore:error:unauthenticated", "code": "unauthenticated", "detail": "who are you?"}
    async with Door(401, problem) as there:
        with pytest.raises(Unauthenticated, match="who are you"):
            await greet({"a": dead, "b": there}, OPEN)

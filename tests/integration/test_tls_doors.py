"""TLS at the doors of clients, over real sockets: who gets in, who is refused and why, and what it costs to be slow."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from kvstore import limits
from kvstore.errors import CannotConnect
from kvstore.http import HttpServer
from kvstore.redis import RedisServer
from kvstore.redis.client import RedisClient
from kvstore.security.keeper import Keeper
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore
from tests.support.pki import Pki

PATIENCE_S = 20.0
DOORS = ("http", "redis")
PING = {"http": b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "redis": b"PING\r\n"}
PONG = {"http": b"200 OK", "redis": b"+PONG"}


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Runs a coroutine on either loop. Whatever reaches the loop's exception handler fails the test."""

    def go(main: Any) -> None:
        errors: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            await asyncio.wait_for(main, PATIENCE_S)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(watched())
        assert errors == []

    return go


@asynccontextmanager
async def opened(door: str, keeper: Keeper) -> AsyncIterator[tuple[str, int]]:
    server: HttpServer | RedisServer
    if door == "http":
        server = HttpServer(MemoryStore(), Metrics(), listen=("127.0.0.1", 0), tls=keeper, shutdown_s=1.0, drain_s=0.05)
    else:
        server = RedisServer(
            MemoryStore(), Metrics(), listen=("127.0.0.1", 0), tls=keeper, shutdown_s=1.0, drain_s=0.05
        )
    await server.start()
    try:
        yield server.address
    finally:
        await server.close()


async def pinged(door: str, address: tuple[str, int], context: ssl.SSLContext) -> bool:
    """Whether a client with `context` is served, within one connection."""
    try:
        reader, writer = await asyncio.open_connection(*address, ssl=context)
    except (OSError, ssl.SSLError):
        return False
    try:
        writer.write(PING[door])
        return PONG[door] in await reader.read(4_096)
    except (OSError, ssl.SSLError):
        return False
    finally:
        writer.transport.abort()


async def refused(keeper: Keeper, door: str, reason: str, times: int = 1) -> None:
    while keeper.counts.refused.get((door, reason), 0) < times:
        await asyncio.sleep(0.005)  # counted by callbacks of the loop that the test shares


def said(logs: list[Any], door: str, reason: str) -> list[Any]:
    found = [
        line
        for line in logs
        if line["event"] == "tls_refused" and (line["door"], line["reason"]) == (door, reason) and line["detail"]
    ]
    assert all(line["address"].startswith("127.0.0.1:") for line in found)
    return found


@pytest.mark.parametrize("door", DOORS)
def test_whoever_trusts_the_ca_is_served_with_a_certificate_or_without(
    door: str, run: Callable[[Any], None], tmp_path: Path
) -> None:
    pki = Pki(tmp_path)

    async def main() -> None:
        keeper = pki.keeper("n1")
        async with opened(door, keeper) as address:
            assert await pinged(door, address, pki.context())
            assert await pinged(door, address, pki.context(pki.client()))
            assert keeper.counts.handshakes[door] == 2
        assert keeper.counts.refused == {}

    run(main())


@pytest.mark.parametrize("door", DOORS)
def test_each_bad_client_is_refused_with_its_reason_and_a_good_one_served_after_them(
    door: str, run: Callable[[Any], None], tmp_path: Path
) -> None:
    pki, stranger = Pki(tmp_path / "a"), Pki(tmp_path / "b")
    # A client of its own CA that yet trusts this node.
    foreign = pki.context(stranger.client())
    cases: dict[str, ssl.SSLContext] = {
        "no_certificate": pki.context(),
        "unknown_ca": foreign,
        "expired": pki.context(pki.client("old", age_days=400)),
        "version": pki.context(pki.client(), version_max="1.2"),
    }

    async def main() -> None:
        keeper = pki.keeper("n1", client_auth="required")
        with capture_logs() as logs:
            async with opened(door, keeper) as address:
                for reason, context in cases.items():
                    assert not await pinged(door, address, context), reason
                    await refused(keeper, door, reason)
                    assert len(said(logs, door, reason)) == 1
                assert await pinged(door, address, pki.context(pki.client()))
        assert keeper.counts.refused == {(door, reason): 1 for reason in cases}
        assert keeper.counts.pending[door] == 0

    run(main())


@pytest.mark.parametrize("door", DOORS)
def test_a_client_that_does_not_trust_the_node_is_counted_as_such(
    door: str, run: Callable[[Any], None], tmp_path: Path
) -> None:
    pki, stranger = Pki(tmp_path / "a"), Pki(tmp_path / "b")

    async def main() -> None:
        keeper = pki.keeper("n1")
        async with opened(door, keeper) as address:
            assert not await pinged(door, address, stranger.context())
            # asyncio's client ends the connection without a word; others send an alert, which is "rejected".
            await refused(keeper, door, "closed")

    run(main())


@pytest.mark.parametrize("door", DOORS)
def test_a_plain_connection_is_told_in_its_own_language_that_this_port_speaks_tls(
    door: str, run: Callable[[Any], None], tmp_path: Path
) -> None:
    pki = Pki(tmp_path)

    async def main() -> None:
        keeper = pki.keeper("n1")
        with capture_logs() as logs:
            async with opened(door, keeper) as address:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(PING[door])
                told = await reader.read()
                assert told.startswith(b"HTTP/1.1 400" if door == "http" else b"-ERR")
                assert b"this port speaks TLS" in told
                writer.close()
                await refused(keeper, door, "not_tls")
        assert len(said(logs, door, "not_tls")) == 1

    run(main())


@pytest.mark.parametrize("door", DOORS)
def test_an_older_version_is_spoken_where_it_is_allowed(door: str, run: Callable[[Any], None], tmp_path: Path) -> None:
    pki = Pki(tmp_path)

    async def main() -> None:
        keeper = pki.keeper("n1", client_auth="required", version_min="1.2")
        async with opened(door, keeper) as address:
            for version_max in ("1.2", None):
                assert await pinged(door, address, pki.context(pki.client(), version_max=version_max))
            assert not await pinged(door, address, pki.context(version_max="1.2"))
            await refused(keeper, door, "no_certificate")

    run(main())


def test_the_redis_client_of_the_bench_speaks_tls_and_says_why_when_it_cannot(
    run: Callable[[Any], None], tmp_path: Path
) -> None:
    pki, stranger = Pki(tmp_path / "a"), Pki(tmp_path / "b")

    async def main() -> None:
        async with opened("redis", pki.keeper("n1", client_auth="required")) as (host, port):
            address, level = f"{host}:{port}", (b"KV.LEVEL", b"quorum")
            async with RedisClient(address, level, tls=pki.tls("bench")) as client:
                assert await client.one(b"SET", b"k", b"v", timeout_s=5) == b"OK"
                assert await client.one(b"GET", b"k", timeout_s=5) == b"v"
            for tls in (pki.tls(), stranger.tls("bench"), None):
                async with RedisClient(address, level, tls=tls) as client:
                    with pytest.raises(CannotConnect):
                        await client.one(b"SET", b"k", b"w", timeout_s=5)

    run(main())


def test_a_refusal_is_said_once_and_counted_every_time(run: Callable[[Any], None], tmp_path: Path) -> None:
    pki = Pki(tmp_path)

    async def main() -> None:
        keeper = pki.keeper("n1")
        with capture_logs() as logs:
            async with opened("http", keeper) as address:
                for _ in range(20):
                    _, writer = await asyncio.open_connection(*address)
                    writer.write(b"nonsense")
                    writer.close()
                await refused(keeper, "http", "not_tls", times=20)
        assert len(said(logs, "http", "not_tls")) == 1

    run(main())


def test_whoever_is_slow_is_cut_and_a_crowd_of_them_keeps_nobody_out(
    run: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki = Pki(tmp_path)
    monkeypatch.setattr(limits, "TLS_HANDSHAKES_PENDING_MAX", 4)
    monkeypatch.setattr(limits, "TLS_HANDSHAKE_S_MAX", 0.5)

    async def main() -> None:
        keeper = pki.keeper("n1")
        async with opened("http", keeper) as address:
            # The beginning of a handshake record that never goes on: slow-loris.
            slow = [await asyncio.open_connection(*address) for _ in range(12)]
            for _, writer in slow:
                writer.write(b"\x16\x03\x01")
            await refused(keeper, "http", "crowded", times=8)
            assert keeper.counts.pending["http"] <= 4
            assert await pinged("http", address, pki.context())  # which makes a place for itself
            await refused(keeper, "http", "timeout", times=3)
            while keeper.counts.pending["http"]:
                await asyncio.sleep(0.005)
            for reader, writer in slow:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()

    run(main())


@pytest.mark.parametrize("door", DOORS)
def test_a_connection_too_many_is_told_so_by_tls(
    door: str, run: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki = Pki(tmp_path)
    monkeypatch.setattr(limits, f"{door.upper()}_CONNECTIONS_MAX", 0)

    async def main() -> None:
        async with opened(door, pki.keeper("n1")) as address:
            reader, writer = await asyncio.open_connection(*address, ssl=pki.context())
            assert b" 429 " in await reader.readline() if door == "http" else b"OVERLOADED" in await reader.readline()
            await reader.read()
            writer.close()

    run(main())


def test_what_is_no_handshake_behind_its_first_byte_is_garbled(run: Callable[[Any], None], tmp_path: Path) -> None:
    pki = Pki(tmp_path)

    async def main() -> None:
        keeper = pki.keeper("n1")
        async with opened("http", keeper) as address:
            _, writer = await asyncio.open_connection(*address)
            writer.write(b"\x16\x03\x01\x00\x10" + b"\xff" * 16)
            await refused(keeper, "http", "garbled")
            writer.close()

    run(main())


def test_large_values_and_pipelined_commands_pass_and_the_end_of_the_input_is_not_the_end_of_the_answers(
    run: Callable[[Any], None], tmp_path: Path
) -> None:
    pki = Pki(tmp_path)

    async def main() -> None:
        keeper = pki.keeper("n1")
        value = bytes(range(256)) * 4_000
        async with opened("redis", keeper) as address:
            reader, writer = await asyncio.open_connection(*address, ssl=pki.context())
            writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
            writer.write(b"GET k\r\n" * 20)
            expected = b"+OK\r\n" + (b"$%d\r\n%b\r\n" % (len(value), value)) * 20
            assert await reader.readexactly(len(expected)) == expected
            writer.close()
            await writer.wait_closed()
        async with opened("http", keeper) as address:
            reader, writer = await asyncio.open_connection(*address, ssl=pki.context())
            writer.write(b"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(value) + value)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
            # A whole request in one piece, larger than a record of TLS: still one that the fast path takes.
            small = value[:20_000]
            writer.write(b"PUT /v1/kv/s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(small) + small)
            await reader.readuntil(b"}")
            writer.write(b"GET /v1/kv/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(value)
            writer.close()

    run(main())

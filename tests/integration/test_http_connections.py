"""Connections to the HTTP door: how many, for how long, and how they end."""

import asyncio

import pytest

from kvstore import limits
from kvstore.http import HttpServer, connections
from kvstore.telemetry.metrics import Metrics
from tests.integration.house import CHUNKED, House, until


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/kv/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/kv/a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_garbage_is_answered_and_ends_the_connection(house: House, garbage: bytes) -> None:
    wire = await house.wire()
    await wire.send(garbage)
    reply = await wire.reply()
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert await wire.closed()
    assert (await house.ask("GET", "/livez")).status == 200


async def test_a_connection_too_many_is_told_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 2)
    first, second = await house.wire(), await house.wire()
    for wire in (first, second):
        assert (await wire.ask("GET", "/livez")).status == 200
    third = await house.wire()
    refused = await third.ask("PUT", "/v1/kv/a", body=b"x" * 100_000)
    assert (refused.status, refused.json["code"], refused.json["outcome"]) == (429, "overloaded", "not_applied")
    assert (refused.headers["Connection"], refused.headers["Retry-After"]) == ("close", "1")
    assert refused.json["request_id"] == refused.headers["X-Request-Id"]
    assert await third.closed()
    assert house.store.calls == []
    assert (await first.ask("GET", "/livez")).status == 200
    second.writer.close()
    connections = house.server._connections
    assert connections is not None
    await until(lambda: len(connections) == 1)
    assert (await house.ask("PUT", "/v1/kv/a", body=b"v")).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * (limits.HTTP_HEADER_BYTES_MAX + 1),
        b"\r\n".join(b"X-%d: x" % number for number in range(limits.HTTP_HEADERS_MAX + 1)),
        b"x" * (limits.HTTP_LINE_BYTES_MAX + 1) + b": x",
    ],
    ids=["a header too long", "too many headers", "a name too long"],
)
async def test_a_head_beyond_its_bounds_is_refused(house: House, head: bytes) -> None:
    wire = await house.wire()
    await wire.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n" + head + b"\r\nContent-Length: 1\r\n\r\nx")
    reply = await wire.reply()
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert await wire.closed()
    assert house.store.calls == []


async def test_a_head_that_comes_byte_by_byte_has_its_time_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections._CONNECTION_BOUNDS, "keepalive_timeout", 0.3)
    wire = await house.wire()

    async def dribble() -> None:
        for byte in b"GET /livez HTTP/1.1\r\nX: " + b"x" * 1_000:
            await wire.send(bytes((byte,)))
            await asyncio.sleep(0.02)

    dribbling = asyncio.create_task(dribble())
    begun = asyncio.get_running_loop().time()
    assert await wire.closed()
    assert asyncio.get_running_loop().time() - begun < 5
    dribbling.cancel()
    await asyncio.gather(dribbling, return_exceptions=True)
    assert (await house.ask("GET", "/livez")).status == 200


async def test_one_address_does_not_take_all_connections(house: House) -> None:
    """From wherever it comes: 127.0.0.2 is another address."""
    connections = house.server._connections
    assert connections is not None
    connections.addresses.most = 2
    first, second = await house.wire(), await house.wire()
    # aiohttp takes it over: it still counts.
    await second.send(CHUNKED + b"1\r\nx\r\n0\r\n\r\n")
    assert (await second.reply()).status == 200
    third = await house.wire()
    refused = await third.ask("GET", "/livez")
    assert (refused.status, refused.json["code"]) == (429, "overloaded")
    assert "2 connections of this address" in refused.json["detail"]
    assert await third.closed()
    reader, writer = await asyncio.open_connection(*house.server.address, local_addr=("127.0.0.2", 0))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()
    first.writer.close()
    second.writer.close()
    await until(lambda: len(connections) == 0)
    assert len(connections.addresses) == 0
    assert (await house.ask("GET", "/livez")).status == 200


async def test_refused_connections_are_bounded_too_and_end_by_themselves(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 0)
    monkeypatch.setattr(limits, "HTTP_REFUSALS_MAX", 1)
    monkeypatch.setattr(limits, "HTTP_REFUSAL_S_MAX", 0.05)
    lingering = await house.wire()
    assert (await lingering.reply()).status == 429
    connections = house.server._connections
    assert connections is not None
    assert len(connections._refusals) == 1
    beyond = await house.wire()
    assert (await beyond.reply()).status == 429
    assert await beyond.closed()
    assert len(connections._refusals) <= 1
    # Neither ever says that it has read its answer.
    await until(lambda: not connections._refusals)


async def test_requests_sent_ahead_are_answered_in_order(house: House) -> None:
    wire = await house.wire()
    put = "PUT /v1/kv/k{0} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nX-Request-Id: r{0}\r\n\r\n{0}"
    await wire.send("".join(put.format(i % 10) for i in range(100)).encode())
    assert [(await wire.reply()).headers["X-Request-Id"] for _ in range(100)] == [f"r{i % 10}" for i in range(100)]


async def test_an_old_client_may_keep_its_connection(house: House) -> None:
    wire = await house.wire()
    for _ in range(2):
        await wire.send(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await wire.reply()).headers["Connection"] == "keep-alive"
    await wire.send(b"GET /livez HTTP/1.0\r\n\r\n")
    assert (await wire.reply()).headers["Connection"] == "close"
    assert await wire.closed()


@pytest.mark.parametrize("header", ["", "Expect: nothing\r\n"], ids=["plain", "aiohttp"])
async def test_a_write_goes_on_when_its_client_goes_away(house: House, header: str) -> None:
    house.store.gate = asyncio.Event()
    wire = await house.wire()
    await wire.send(f"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 1\r\n\r\nv".encode())
    await house.store.entered.wait()
    wire.writer.transport.abort()
    connections = house.server._connections
    assert connections is not None
    await until(lambda: not connections._plain and not any(each.connected for each in connections._aiohttp.connections))
    assert b"a" not in house.store.records
    house.store.gate.set()
    await until(lambda: b"a" in house.store.records)


async def test_closing_lets_a_request_finish_and_takes_no_new_ones(house: House) -> None:
    house.store.gate = asyncio.Event()
    busy, idle = await house.wire(), await house.wire()
    assert (await idle.ask("GET", "/livez")).status == 200
    await busy.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv")
    await house.store.entered.wait()
    address = house.server.address
    closing = asyncio.create_task(house.server.close())
    assert await idle.closed()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection(*address)
    house.store.gate.set()
    reply = await busy.reply()
    assert (reply.status, reply.headers["Connection"]) == (200, "close")
    assert await busy.closed()
    await closing


async def test_closing_does_not_wait_for_ever() -> None:
    house = House()
    house.server = HttpServer(house.store, Metrics(), listen=("127.0.0.1", 0), shutdown_s=0.05)
    await house.server.start()
    house.store.gate = asyncio.Event()
    wire = await house.wire()
    await wire.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv")
    await house.store.entered.wait()
    await asyncio.wait_for(house.server.close(), 5)
    assert await wire.closed()
    wire.writer.close()


async def test_the_address_is_taken_only_once(house: House) -> None:
    second = HttpServer(house.store, Metrics(), listen=house.server.address)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    with pytest.raises(RuntimeError):
        _ = second.address
    await second.close()

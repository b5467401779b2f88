"""Keepalives as a stream, over a real socket."""

import asyncio
import json
from typing import Any

import pytest

from kvstore import limits
from kvstore.errors import NoLeader
from tests.integration.house import House, Wire

HEAD = (
    b"POST /v1/leases/keepalive HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


async def begun(house: House) -> Wire:
    wire = await house.wire()
    await wire.send(HEAD)
    head = await asyncio.wait_for(wire.reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"application/x-ndjson" in head
    return wire


async def say(wire: Wire, data: bytes) -> None:
    await wire.send(b"%x\r\n%b\r\n" % (len(data), data))


async def told(wire: Wire) -> Any:
    """The next line, None at the end."""
    size = int(await asyncio.wait_for(wire.reader.readline(), 10), 16)
    line = (await wire.reader.readexactly(size + 2))[:-2]
    return json.loads(line) if size else None


async def test_each_line_is_answered_as_it_comes(house: House) -> None:
    for _ in range(2):
        await house.ask("POST", "/v1/leases", body=b'{"ttl_seconds": 30}')
    wire = await begun(house)
    await say(wire, b'{"ids": [1, 9]}\n')
    assert await told(wire) == {"leases": [{"id": 1, "ttl_seconds": 30.0}], "gone": [9]}
    await say(wire, b'\n{"ids": [2]}\n{"id')  # a line and a half
    assert await told(wire) == {"leases": [{"id": 2, "ttl_seconds": 30.0}], "gone": []}
    await say(wire, b's": []}\n')
    assert await told(wire) == {"leases": [], "gone": []}
    await wire.send(b"0\r\n\r\n")
    assert await told(wire) is None


async def test_after_a_failure_the_next_line_may_fare_better(house: House) -> None:
    await house.ask("POST", "/v1/leases", body=b'{"ttl_seconds": 30}')
    wire = await begun(house)
    house.store.fail = NoLeader("nobody leads")
    await say(wire, b'{"ids": [1]}\n')
    problem = await told(wire)
    assert (problem["code"], problem["outcome"]) == ("no_leader", "not_applied")
    house.store.fail = None
    await say(wire, b'{"ids": [1]}\n')
    assert (await told(wire))["gone"] == []


@pytest.mark.parametrize(
    "line",
    [b"no json\n", b'{"ids": [0]}\n', b'{"ids": ["1"]}\n', b"\xff\n", b"[" * 100_000 + b"\n", b'{"other": []}\n'],
)
async def test_what_is_no_line_ends_the_stream_with_its_problem(house: House, line: bytes) -> None:
    wire = await begun(house)
    await say(wire, line)
    assert (await told(wire))["code"] == "bad_request"
    assert await told(wire) is None


async def test_a_line_above_the_bound_ends_the_stream(house: House) -> None:
    wire = await begun(house)
    try:
        for _ in range(limits.LEASES_BODY_BYTES_MAX // (64 << 10) + 2):
            await say(wire, b"1" * (64 << 10))
    except ConnectionError:
        pass
    assert "longer than" in (await told(wire))["detail"]
    assert house.server._door.bodies.taken == 0


async def test_silence_ends_the_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEPALIVE_SILENCE_S_MAX", 0.05)
    wire = await begun(house)
    assert "no line came" in (await told(wire))["detail"]
    assert await told(wire) is None


async def test_a_server_that_stops_ends_the_stream_at_once(house: House) -> None:
    await house.ask("POST", "/v1/leases", body=b'{"ttl_seconds": 30}')
    wire = await begun(house)
    await say(wire, b'{"ids": [1]}\n')
    assert await told(wire) is not None
    closing = asyncio.create_task(house.server.close())
    assert await told(wire) is None  # a whole end, and not a connection that was cut
    await closing


async def test_a_client_that_breaks_off_leaves_nothing_open(house: House) -> None:
    wire = await begun(house)
    await say(wire, b'{"ids": [')
    wire.writer.transport.abort()
    connections = house.server._connections
    assert connections is not None
    async with asyncio.timeout(10):
        while len(connections):
            await asyncio.sleep(0)
    assert house.server._door.bodies.taken == 0

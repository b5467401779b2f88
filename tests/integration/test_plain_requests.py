"""Plain requests are answered as aiohttp's are: the same bytes, sent so that the one or the other has them,
get the same answers.
"""

import asyncio
import random
import re

import pytest

from kvstore import limits
from kvstore.http import connections as connections_of
from tests.integration.house import House

RID = b"X-Request-Id: r\r\n"
PLAIN = [
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Content-Length: 3\r\n\r\nabc",
    b"PUT /v1/kv/%b?level=all HTTP/1.1\r\nHost: x\r\n" + RID + b"content-length:  3 \r\nAccept: */*\r\n\r\nabc",
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"If-None-Match: *\r\nContent-Length: 1\r\n\r\nv",
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b'If-Match: "1"\r\nContent-Length: 1\r\n\r\nv',
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Idempotency-Key: k\xc3\xa9\xff\r\nContent-Length: 1\r\n\r\nv",
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"KV-Stamp: 1700000000005.3.n9.4\r\nContent-Length: 0\r\n\r\n",
    b"PUT /v1/kv/%b?level=none HTTP/1.1\r\nHost: x\r\n" + RID + b"Content-Length: 1\r\n\r\nv",
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Connection: Keep-Alive\r\n\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Accept: application/json\r\n\r\n",
    b"GET /v1/kv/%b?level=one&min_revision=1 HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"DELETE /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n" + RID + b'Content-Length: 33\r\n\r\n{"ops":[{"op":"get","key":"ab"}]}',
]
OTHERS = [
    b"GET /livez HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET /v1/kv?prefix= HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n" + RID + b"\r\n",
    b"HEAD /v1/kv?prefix= HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n" + RID + b"\r\n",
    b"POST /v1/leases/keepalive HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
    + RID
    + b'Content-Length: 24\r\n\r\n{"ids":[1]}\n{"ids":[2]}\n',
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Expect: more\r\n\r\n",
    b"GET /v1/kv?prefix= HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"HEAD /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET http://x/v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET /v1/kv/%b#part HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET //v1/kv/%b?a=b?c HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"PATCH /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET /v1/kv/%b HTTP/1.0\r\nHost: x\r\n" + RID + b"Connection: keep-alive\r\n\r\n",
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Content-Length: 1\r\n\r\nv",
    b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"If-Match: *\r\nIf-Match: *\r\nContent-Length: 1\r\n\r\nv",
]
LAST = [  # behind these the connection ends
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + RID + b"Connection: close\r\n\r\n",
    b"GET /v1/kv/%b HTTP/1.0\r\nHost: x\r\n" + RID + b"\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nvv",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 20_000 + b"\r\n\r\n",
    b"GET /v1/kv/%b" + b"c" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/kv/%b HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(80)) + b"\r\n",
    b"get /v1/kv/%b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00%b",
]
KEYS = [b"a", b"a%2Fb", b"caf%C3%A9", b"%ff%00", b"a//../b", b"b", b"c" * 300]


async def answers(said: list[list[bytes]], *, aiohttp: bool) -> list[object]:
    """What each request got, without what is different each time. Those of one list are sent at once, and answered
    before the next are sent.
    """
    house = House()
    await house.server.start()
    found: list[object] = []
    try:
        wire = await house.wire()
        if aiohttp:  # a request that has not come whole
            await wire.send(said[0][0][:1])
            connections = house.server._connections
            assert connections is not None
            async with asyncio.timeout(10):
                while not connections._aiohttp.connections:
                    await asyncio.sleep(0)
        for number, together in enumerate(said):
            await wire.send(b"".join(together)[aiohttp and not number :])
            for each in together:
                status, headers, body = await wire.reply("HEAD" if each.startswith(b"HEAD") else "GET")
                made = headers["X-Request-Id"] != "r"
                headers = {name: told for name, told in headers.items() if name not in ("Date", "X-Request-Id")}
                found.append((status, made, headers, re.sub(rb'"request_id":"[0-9a-f]+-[0-9a-f]+"', b"", body)))
                if headers.get("Connection") == "close":
                    break
            if headers.get("Connection") == "close":
                break
        found.append(await wire.closed())
        wire.writer.close()
        assert house.server._door.bodies.taken == 0
    finally:
        await house.server.close()
    return found


def conversation(chance: random.Random) -> list[list[bytes]]:
    kinds = PLAIN if chance.random() < 0.6 else PLAIN + OTHERS
    said: list[list[bytes]] = []
    for each in [chance.choice(kinds) for _ in range(chance.randint(0, 8))] + [chance.choice(LAST)]:
        request = each.replace(b"%b", chance.choice(KEYS))
        if said and chance.random() < 0.4:
            said[-1].append(request)
        else:
            said.append([request])
    return said


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections_of._CONNECTION_BOUNDS, "lingering_time", 0.05)


@pytest.mark.parametrize("seed", range(60))
async def test_the_same_bytes_get_the_same_answers_on_both_ways(seed: int) -> None:
    said = conversation(random.Random(seed))
    assert await answers(said, aiohttp=False) == await answers(said, aiohttp=True)


@pytest.mark.parametrize("odd", OTHERS + LAST, ids=range(len(OTHERS) + len(LAST)))
@pytest.mark.parametrize("first", PLAIN[::4], ids=range(len(PLAIN[::4])))
async def test_a_plain_request_before_an_odd_one(first: bytes, odd: bytes) -> None:
    said = [[each.replace(b"%b", b"k")] for each in (first, odd, LAST[0])]
    assert await answers(said, aiohttp=False) == await answers(said, aiohttp=True)


def plain(house: House) -> int:
    assert house.server._connections is not None
    return len(house.server._connections._plain)


async def test_plain_requests_stay_and_others_are_handed_over_for_good(house: House) -> None:
    wire = await house.wire()
    for _ in range(3):
        assert (await wire.ask("PUT", "/v1/kv/a", body=b"v")).status == 200
        assert (await wire.ask("GET", "/v1/kv/a")).body == b"v"
    assert plain(house) == 1
    assert (await wire.ask("GET", "/livez")).status == 200
    assert (
        await wire.ask("GET", "/v1/kv?prefix=", "Accept: application/x-ndjson")
    ).body == b'{"key":"a","value":"v"}\n'
    assert plain(house) == 1
    assert (await wire.ask("GET", "/livez", "Expect: more")).status == 200
    assert plain(house) == 0
    assert (await wire.ask("GET", "/v1/kv/a")).body == b"v"
    assert house.server._open_connections() == 1


async def test_a_value_that_comes_in_pieces_is_taken_whole(house: House) -> None:
    wire = await house.wire()
    await wire.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    async with asyncio.timeout(10):
        while plain(house):
            await asyncio.sleep(0)
    await wire.send(b"def")
    assert (await wire.reply()).status == 200
    assert house.store.records[b"a"].value == b"abcdef"


async def test_who_sends_ahead_without_end_is_not_read_on(house: House) -> None:
    house.store.gate = asyncio.Event()
    wire = await house.wire()
    request = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"v" * 1000
    await wire.send(request)
    await house.store.entered.wait()
    assert house.server._connections is not None
    (connection,) = house.server._connections._plain
    ahead, stuck = 0, False
    while not stuck:
        assert ahead < 20_000
        try:
            await asyncio.wait_for(wire.send(request), 0.5)
            ahead += 1
        except TimeoutError:
            stuck = True
    assert len(connection._later) < limits.HTTP_READ_BUFFER_BYTES + (512 << 10)
    house.store.gate.set()
    for _ in range(ahead + 1):  # the last one lies in the buffer on this side
        assert (await wire.reply()).status == 200


async def test_who_does_not_read_answers_is_dropped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_WRITE_S_MAX", 0.05)
    value = b"v" * limits.VALUE_BYTES_MAX
    assert (await house.ask("PUT", "/v1/kv/a", body=value)).status == 200
    wire = await house.wire()
    await wire.send(b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
    async with asyncio.timeout(10):
        while plain(house):
            await asyncio.sleep(0.01)


async def test_a_silent_connection_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, other = await house.wire(), await house.wire()
    assert (await wire.ask("PUT", "/v1/kv/a", body=b"v")).status == 200
    assert house.server._connections is not None
    house.server._connections._sweep()
    assert (await wire.ask("GET", "/v1/kv/a")).body == b"v"
    monkeypatch.setattr(limits, "HTTP_IDLE_S_MAX", -1.0)
    house.server._connections._sweep()
    assert await wire.closed()
    assert await other.closed()

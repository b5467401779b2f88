"""Bodies on their way in: how they come, how large they may be, how long they may take."""

import os

import pytest

from kvstore import limits
from kvstore.errors import NoQuorum
from tests.integration.house import CHUNKED, House, exposition, until


async def test_the_largest_value_fits_and_one_byte_more_does_not(house: House) -> None:
    largest = os.urandom(limits.VALUE_BYTES_MAX)
    wire = await house.wire()
    assert (await wire.ask("PUT", "/v1/kv/a", body=largest)).status == 200
    assert (await wire.ask("GET", "/v1/kv/a")).body == largest
    assert (await wire.ask("PUT", "/v1/kv/empty", body=b"")).status == 200
    assert (await wire.ask("GET", "/v1/kv/empty")).body == b""
    over = await house.ask("PUT", "/v1/kv/b", body=largest + b"x")
    assert (over.status, over.json["code"], over.json["outcome"]) == (413, "too_large", "not_applied")
    assert b"b" not in house.store.records


async def test_a_declared_length_above_the_bound_is_refused_before_the_body(house: House) -> None:
    wire = await house.wire()
    await wire.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n")
    reply = await wire.reply()
    assert (reply.status, reply.headers["Connection"]) == (413, "close")


async def test_a_client_that_waits_for_100_continue_gets_it(house: House) -> None:
    wire = await house.wire()
    await wire.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"abc")
    assert (await wire.reply()).status == 200
    assert house.store.records[b"a"].value == b"abc"


async def test_bodies_that_take_too_much_room_together_are_refused_before_they_are_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_BODIES_BYTES_MAX", 1_000)
    slow = await house.wire()
    await slow.send(b"PUT /v1/kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" + b"x" * 100)
    await until(lambda: house.server._door.bodies.taken == 600)
    for head in (b"Content-Length: 600\r\n\r\n" + b"y", b"Transfer-Encoding: chunked\r\n\r\n192\r\n" + b"y" * 0x192):
        wire = await house.wire()
        await wire.send(b"PUT /v1/kv/b HTTP/1.1\r\nHost: x\r\n" + head)
        refused = await wire.reply()
        assert (refused.status, refused.json["code"], refused.json["outcome"]) == (429, "overloaded", "not_applied")
        assert refused.json["retry_safe"]
        assert int(refused.headers["Retry-After"]) >= 1
        assert await wire.closed()
    # What is small enough still comes through, and all room is given back.
    assert (await house.ask("PUT", "/v1/kv/small", body=b"z" * 300)).status == 200
    await slow.send(b"x" * 500)
    assert (await slow.reply()).status == 200
    assert house.server._door.bodies.taken == 0
    assert sorted(house.store.records) == [b"slow", b"small"]


async def test_room_for_bodies_is_given_back_however_a_request_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_READ_S_MAX", 0.05)
    begun = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\nx"
    stops, leaves = await house.wire(), await house.wire()
    await stops.send(begun)
    await leaves.send(begun)
    await until(lambda: house.server._door.bodies.taken == 1_200)
    leaves.writer.transport.abort()
    assert (await stops.reply()).status == 400
    await until(lambda: house.server._door.bodies.taken == 0)
    house.store.fail = NoQuorum("lost")
    await house.ask("PUT", "/v1/kv/a", body=b"x" * 300_000)
    assert house.server._door.bodies.taken == 0


async def test_a_chunked_body_is_taken_whole(house: House) -> None:
    wire = await house.wire()
    await wire.send(CHUNKED + b"3\r\nabc\r\n")
    await wire.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await wire.reply()).status == 200
    assert house.store.records[b"a"].value == b"abcde"


async def test_a_chunked_body_above_the_bound_is_refused(house: House) -> None:
    wire = await house.wire()
    await wire.send(CHUNKED + b"100001\r\n" + b"x" * 0x100001 + b"\r\n")
    reply = await wire.reply()
    assert (reply.status, reply.json["code"]) == (413, "too_large")
    assert house.store.calls == []


@pytest.mark.parametrize(
    "begun", [CHUNKED + b"5\r\nab", b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"]
)
async def test_a_body_that_stops_midway_is_refused_after_a_bound(
    house: House, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_READ_S_MAX", 0.05)
    wire = await house.wire()
    await wire.send(begun)
    reply = await wire.reply()
    assert (reply.status, reply.json["code"], reply.json["outcome"]) == (400, "bad_request", "not_applied")
    assert await wire.closed()
    assert house.store.calls == []


async def test_a_body_cut_off_by_its_client_is_never_applied(house: House) -> None:
    for begun in (CHUNKED + b"5\r\nab", b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"):
        wire = await house.wire()
        await wire.send(begun)
        wire.writer.close()
    await until(lambda: '_total{method="PUT",route="/v1/kv/{key}",status="400"} 2.0' in exposition(house))
    assert house.store.calls == []


async def test_a_malformed_chunk_is_never_applied(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_READ_S_MAX", 0.05)
    wire = await house.wire()
    await wire.send(CHUNKED + b"3\r\nabc\r\nzz\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.reply()).status == 400
    assert await wire.closed()
    assert house.store.calls == []


async def test_a_compressed_body_is_stored_as_it_came(house: House) -> None:
    await house.ask("PUT", "/v1/kv/a", "Content-Encoding: gzip", body=b"not gzip at all")
    assert house.store.records[b"a"].value == b"not gzip at all"


async def test_the_time_of_a_request_runs_from_its_head_also_while_its_body_comes(house: House) -> None:
    wire = await house.wire()
    await wire.send(b"PUT /v1/kv/late?timeout_ms=50 HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" + b"x" * 100)
    reply = await wire.reply()
    assert reply.status == 429
    assert reply.headers["Retry-After"] == "1"
    told = reply.json
    assert (told["code"], told["outcome"], told["retry_safe"]) == ("overloaded", "not_applied", True)
    assert house.store.records == {}

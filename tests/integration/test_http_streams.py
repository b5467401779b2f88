"""Answers that are sent piece by piece: pages, lines, watches, backups."""

import asyncio
import json
import os
from typing import Any

import pytest

from kvstore import limits
from kvstore.errors import NoQuorum
from kvstore.model.levels import Level
from tests.integration.house import House
from tests.integration.memory_store import MemoryBackup


async def test_pages_follow_each_other_in_both_directions(house: House) -> None:
    wire = await house.wire()
    for name in ("a", "b/1", "b/2", "b/3", "c"):
        await wire.ask("PUT", f"/v1/kv/{name}", body=name.encode())
    for reverse in ("false", "true"):
        seen, cursor = [], ""
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            page = (await wire.ask("GET", f"/v1/kv?prefix=b/&limit=2&reverse={reverse}{more}")).json
            assert page["count"] == 3
            seen += [record["key"] for record in page["records"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert seen == sorted(("b/1", "b/2", "b/3"), reverse=reverse == "true")
    bounded = (await wire.ask("GET", "/v1/kv?start=b/2&end=c&level=one")).json
    assert [record["key"] for record in bounded["records"]] == ["b/2", "b/3"]


async def test_ndjson_streams_the_whole_range(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RANGE_LIMIT_DEFAULT", 2)
    wire = await house.wire()
    await wire.ask("PUT", "/v1/kv/%ff", body=b"\xfe")
    for i in range(5):
        await wire.ask("PUT", f"/v1/kv/k{i}", body=b'"quoted"\n')
    reply = await wire.ask("GET", "/v1/kv", "Accept: application/x-ndjson")
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert lines == [{"key": f"k{i}", "value": '"quoted"\n'} for i in range(5)] + [
        {"key_base64": "/w==", "value_base64": "/g=="}
    ]
    limited = await wire.ask("GET", "/v1/kv?limit=3&keys_only=true&reverse=true", "Accept: application/x-ndjson")
    assert [json.loads(line) for line in limited.body.splitlines()] == [
        {"key_base64": "/w=="},
        {"key": "k4"},
        {"key": "k3"},
    ]
    empty = await wire.ask("GET", "/v1/kv?prefix=none", "Accept: application/x-ndjson")
    assert (empty.status, empty.body) == (200, b"")
    assert (await wire.ask("HEAD", "/v1/kv", "Accept: application/x-ndjson")).status == 200
    assert (await wire.ask("GET", "/livez")).status == 200


async def test_a_stream_that_fails_midway_ends_as_a_truncated_body(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RANGE_LIMIT_DEFAULT", 1)
    wire = await house.wire()
    for i in range(2):
        await wire.ask("PUT", f"/v1/kv/k{i}", body=b"v")
    first_page = house.store.range

    async def fails_on_the_second(*args: Any, **options: Any) -> Any:
        if options["after"] is not None:
            raise NoQuorum("lost", read=True)
        return await first_page(*args, **options)

    monkeypatch.setattr(house.store, "range", fails_on_the_second)
    await wire.send(b"GET /v1/kv HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
    raw = await asyncio.wait_for(wire.reader.read(), 10)
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert b'{"key":"k0","value":"v"}' in raw
    assert not raw.endswith(b"0\r\n\r\n")


async def test_an_old_client_gets_a_stream_without_chunks(house: House) -> None:
    await house.ask("PUT", "/v1/kv/a", body=b"v")
    wire = await house.wire()
    await wire.send(b"GET /v1/kv HTTP/1.0\r\nConnection: keep-alive\r\nAccept: application/x-ndjson\r\n\r\n")
    head, body = (await asyncio.wait_for(wire.reader.read(), 10)).split(b"\r\n\r\n", 1)
    assert b"Connection: close" in head
    assert body == b'{"key":"a","value":"v"}\n'


async def test_pages_stay_at_the_revision_of_the_first(house: House) -> None:
    for key in "abcd":
        await house.ask("PUT", f"/v1/kv/{key}", body=b"old")
    first = (await house.ask("GET", "/v1/kv?limit=2")).json
    await house.ask("PUT", "/v1/kv/c", body=b"new")
    await house.ask("PUT", "/v1/kv/cc", body=b"new")
    await house.ask("DELETE", "/v1/kv/d")
    second = (await house.ask("GET", f"/v1/kv?limit=2&cursor={first['cursor']}")).json
    assert [each["key"] for each in second["records"]] == ["c", "d"]
    assert (second["revision"], second["count"], second["cursor"]) == (4, 4, None)
    assert {each["value_base64"] for each in second["records"]} == {"b2xk"}


async def test_a_watch_tells_what_happened_and_ends_where_its_node_knows_no_leader(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a node that is cut off would say for ever that nothing happens."""
    monkeypatch.setattr(limits, "WATCH_PROGRESS_S", 0.05)
    for value in (b"1", b"2"):
        await house.ask("PUT", "/v1/kv/k", body=value)
    await house.ask("PUT", "/v1/kv/other", body=b"x")
    await house.ask("DELETE", "/v1/kv/k")
    house.store.not_ready = "no leader is known"
    reply = await house.ask("GET", "/v1/watch?key=k&from=2&previous=true")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/event-stream")
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in reply.body.decode().split("\n\n")[1:-1]
    ]
    assert [(block.get("id"), block["event"]) for block in blocks] == [
        ("2", "put"),
        ("4", "delete"),
        (None, "progress"),
        (None, "closed"),
    ]
    put, deleted, progress, closed = (json.loads(block["data"]) for block in blocks)
    assert (put["key"], put["value_base64"], put["previous"]["value_base64"]) == ("k", "Mg==", "MQ==")
    assert (deleted["key"], deleted["mod_revision"], deleted["previous"]["mod_revision"]) == ("k", 4, 2)
    assert (progress, closed) == ({"revision": 4}, {"revision": 5})


async def test_a_server_that_stops_ends_its_watches_at_once(house: House) -> None:
    wire = await house.wire()
    await wire.send(b"GET /v1/watch?prefix= HTTP/1.1\r\nHost: x\r\n\r\n")
    await house.store.entered.wait()
    await house.ask("PUT", "/v1/kv/k", body=b"v")
    began = asyncio.get_running_loop().time()
    await house.server.close()
    body = (await wire.reply()).body
    assert b"event: put" in body
    assert body.endswith(b'event: closed\ndata: {"revision":2}\n\n')
    assert asyncio.get_running_loop().time() - began < limits.HTTP_SHUTDOWN_S_MAX
    assert len(house.store.watches or ()) == 0


async def test_a_backup_is_sent_with_its_length_and_given_back(house: House) -> None:
    house.store.backup_bytes = os.urandom(2_500)
    wire = await house.wire()
    for target in ("/v1/snapshot", "/v1/snapshot?level=one&timeout_ms=100"):
        reply = await wire.ask("GET", target)
        assert (reply.status, reply.body) == (200, house.store.backup_bytes)
        assert reply.headers["Content-Type"] == "application/octet-stream"
        assert (reply.headers["Content-Length"], reply.headers["KV-Applied-Index"]) == ("2500", "7")
    head = await wire.ask("HEAD", "/v1/snapshot")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "2500", b"")
    assert [call[1:] for call in house.store.calls if call[0] == "backup"][:2] == [
        (Level.QUORUM, limits.TIMEOUT_MS_DEFAULT / 1000),
        (Level.ONE, 0.1),
    ]
    assert [backup.open for backup in house.store.backups] == [False] * 3
    old = await house.wire()
    await old.send(b"GET /v1/snapshot HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    reply = await old.reply()
    assert (reply.body, reply.headers["Connection"]) == (house.store.backup_bytes, "keep-alive")
    assert (await house.ask("GET", "/v1/snapshot?level=all")).json["code"] == "bad_request"


async def test_a_backup_that_cannot_be_read_on_is_a_truncated_body(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBackup, "fails_at", 2_000)
    house.store.backup_bytes = os.urandom(2_500)
    wire = await house.wire()
    await wire.send(b"GET /v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 2500" in head
    assert len(await asyncio.wait_for(wire.reader.read(), 10)) == 2_000
    assert not house.store.backups[0].open


@pytest.mark.parametrize("header", ["", "Expect: nothing\r\n"], ids=["plain", "aiohttp"])
@pytest.mark.parametrize("target", ["/v1/watch?prefix=", "/v1/snapshot"])
async def test_what_a_client_that_has_gone_asked_for_is_not_left_open(house: House, target: str, header: str) -> None:
    house.store.gate = asyncio.Event()
    wire = await house.wire()
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
    await asyncio.wait_for(house.store.entered.wait(), 10)
    wire.writer.transport.abort()
    async with asyncio.timeout(10):
        connections = house.server._connections
        while connections._plain or any(each.transport is not None for each in connections._aiohttp.connections):
            await asyncio.sleep(0)
        house.store.gate.set()
        while house.server._open_connections() or not (house.store.watches is not None or house.store.backups):
            await asyncio.sleep(0)
        while len(house.store.watches or ()) or any(backup.open for backup in house.store.backups):
            await asyncio.sleep(0)

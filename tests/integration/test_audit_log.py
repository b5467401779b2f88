"""The audit log: who did what at both doors, no values and no secrets, bounded, and never in the way."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

from kvstore import limits
from kvstore.config.settings import AUDIT_DEFAULT, AUDIT_KINDS
from kvstore.guard import Gate
from kvstore.http import HttpServer
from kvstore.http.auditing import kind_of
from kvstore.http.routes import ROUTES
from kvstore.model.auth_commands import AUTH_ENABLE
from kvstore.redis import RedisServer
from kvstore.telemetry.audit import AuditLog
from kvstore.telemetry.metrics import Metrics
from tests.integration.test_auth_door import KEY, RECORD, ROOT_PASSWORD, Guarded, body
from tests.support.pages import blocks


class Audited(Guarded):
    """With a log of everything, and a Redis door."""

    def __init__(self, path: Path, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.path = path
        self.audit = AuditLog(str(path), kinds, "n1")
        self.gate = Gate(self.store, audit=self.audit)
        how: dict[str, Any] = {"listen": ("127.0.0.1", 0), "shutdown_s": 2.0, "gate": self.gate}
        self.server = HttpServer(self.store, Metrics(), audit=self.audit, **how)
        self.redis = RedisServer(self.store, Metrics(), drain_s=0.1, **how)

    async def entries(self) -> list[dict[str, Any]]:
        """All that is written, once nothing waits any more."""
        await asyncio.to_thread(self.audit.close)
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Audited]:
    house = Audited(tmp_path / "audit.log", getattr(request, "param", AUDIT_KINDS))
    await house.server.start()
    await house.redis.start()
    yield house
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()
    await house.redis.close()
    house.audit.close()
    house.gate.close()


async def test_an_entry_says_who_what_where_and_what_became_of_it(house: Audited) -> None:
    assert (await house.of("r-write", "PUT", "/v1/kv/a/9", "X-Request-Id: mine", body=b"MARKER")).status == 200
    assert (await house.of("r-write", "PUT", "/v1/kv/b%2F9?level=one", body=b"MARKER")).status == 403
    (allowed, refused) = await house.entries()
    (shown,) = (json.loads(block.text) for block in blocks("docs/security.md") if block.language == "json")
    assert set(shown) == set(refused)
    assert allowed.pop("time").startswith("20")
    assert allowed == {
        "node": "n1",
        "door": "http",
        "user": "r-write",
        "source": "token",
        "address": "127.0.0.1",
        "kind": "write",
        "what": "PUT /v1/kv/{key}",
        "level": "quorum",
        "status": 200,
        "code": None,
        "outcome": "committed",
        "revision": 3,
        "request_id": "mine",
        "keys": ["a/9"],
    }
    assert (refused["code"], refused["outcome"], refused["level"]) == ("forbidden", "not_applied", "one")
    assert (refused["keys"], refused["revision"]) == (["b/9"], None)


async def test_batches_transactions_ranges_logins_and_unknown_callers(house: Audited) -> None:
    ops = [{"op": "put", "key": "a/5", "value": "MARKER"}, {"op": "delete", "key": "b/1"}]
    await house.of("r-write", "POST", "/v1/batch", body=body(ops=ops))
    steps = [{"op": "put", "key": "a/6", "value": "MARKER"}, {"op": "delete_range", "prefix": "a/7"}]
    await house.of("root", "POST", "/v1/txn", body=body(then=steps))
    await house.of("root", "DELETE", "/v1/kv?prefix=a/7")
    await house.ask("POST", "/v1/auth/token", body=body(user="root", password=ROOT_PASSWORD))
    await house.ask("POST", "/v1/auth/token", body=body(user="root", password="MARKER wrong"))
    await house.ask("GET", "/v1/kv/a/1", "Authorization: Bearer MARKER")
    entries = await house.entries()
    assert "MARKER" not in house.path.read_text()
    assert ROOT_PASSWORD not in house.path.read_text()
    batch, txn, range_, login, token, wrong, refused_token, unknown = entries
    assert (batch["keys"], batch["refused"]) == (["a/5", "b/1"], 1)
    assert (txn["keys"], txn["revision"]) == (["a/6", "a/7"], 4)
    assert (range_["prefix"], range_["kind"]) == ("a/7", "delete")
    assert (login["user"], login["what"], login["code"], token["status"]) == ("root", "login", None, 200)
    assert (wrong["user"], wrong["code"], refused_token["status"]) == ("root", "unauthenticated", 401)
    assert (unknown["user"], unknown["code"], unknown["what"]) == (None, "unauthenticated", "GET /v1/kv/{key}")


async def test_the_redis_door_tells_too(house: Audited) -> None:
    reader, writer = await asyncio.open_connection(*house.redis.address)
    asked = [
        ("GET", "a/1"),
        ("AUTH", house.token("r-write")),
        ("SET", "a/1", "MARKER"),
        ("SET", "b/1", "MARKER"),
        ("MULTI",),
        ("SET", "a/2", "MARKER"),
        ("EXEC",),
    ]
    replies = hiredis.Reader()
    for words in asked:
        writer.write(hiredis.pack_command(words))
        while replies.gets() is False:
            replies.feed(await asyncio.wait_for(reader.read(4_096), 5))
    writer.close()
    told = [(each["what"], each["user"], each["code"], each.get("keys")) for each in await house.entries()]
    assert told == [
        ("GET", None, "NOAUTH", ["a/1"]),
        ("SET", "r-write", None, ["a/1"]),
        ("SET", "r-write", "NOPERM", ["b/1"]),
        ("SET", "r-write", None, ["a/2"]),
    ]
    assert "MARKER" not in house.path.read_text()


@pytest.mark.parametrize("house", [AUDIT_DEFAULT, ()], indirect=True, ids=["default", "nothing"])
async def test_only_what_was_asked_for_is_written(house: Audited) -> None:
    await house.of("root", "GET", "/v1/kv/a/1")
    await house.of("root", "PUT", "/v1/kv/a/1", body=b"x")
    await house.of("root", "GET", "/v1/auth/users")
    await house.of("r-write", "GET", "/v1/kv/a/1")
    await house.of("root", "GET", "/livez")
    told = [(each["what"], each["status"]) for each in await house.entries()]
    assert told == (
        [("PUT /v1/kv/{key}", 200), ("GET /v1/auth/users", 200), ("GET /v1/kv/{key}", 403)] if house.audit.kinds else []
    )


async def test_without_auth_it_tells_what_was_done_by_nobody(tmp_path: Path) -> None:
    house = Audited(tmp_path / "audit.log", AUDIT_DEFAULT)
    await house.server.start()
    await house.of("root", "POST", "/v1/auth/disable")
    await house.ask("PUT", "/v1/kv/a/1", body=b"x")
    last = (await house.entries())[-1]
    assert (last["user"], last["what"], last["outcome"]) == (None, "PUT /v1/kv/{key}", "committed")
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()


def test_every_route_has_a_kind_or_is_of_no_interest() -> None:
    plain = {route.path for route in ROUTES if kind_of(route) is None}
    assert plain == {
        "/v1/receipts/{id}",
        "/v1/sessions",
        "/v1/sessions/{session}",
        "/v1/cluster",
        "/v1/settings",
        "/v1/odds",
        "/ui",
        "/ui/{file}",
        "/livez",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/metrics",
    }
    assert {kind_of(route) for route in ROUTES} - {None} | {"refused"} == set(AUDIT_KINDS)
    assert (AUTH_ENABLE, len(KEY)) == (0, limits.SIGNING_KEY_BYTES)
    assert RECORD


def test_files_are_turned_over_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_FILE_BYTES_MAX", 400)
    monkeypatch.setattr(limits, "AUDIT_FILES_MAX", 3)
    path = tmp_path / "audit.log"
    log = AuditLog(str(path), AUDIT_KINDS, "n1")
    for number in range(40):
        log.note(number=number, keys=[b"k" * 1_000, b"\xff"])
    log.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["audit.log", "audit.log.1", "audit.log.2"]
    assert os.stat(path).st_mode & 0o777 == 0o600
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["number"], log.written_total, log.lost_total) == (39, 40, 0)
    assert [len(key) for key in last["keys"]] == [limits.AUDIT_KEY_BYTES_MAX + 3, 4]
    again = AuditLog(str(path), AUDIT_KINDS, "n1")
    again.note(number=40)
    again.close()
    assert len(path.read_text().splitlines()) >= 1


def test_what_finds_no_room_is_counted_and_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_WAITING_MAX", 5)
    with pytest.raises(IsADirectoryError):  # told before the node serves
        AuditLog(str(tmp_path), AUDIT_KINDS, "n1")
    log = AuditLog(str(tmp_path / "audit.log"), AUDIT_KINDS, "n1")
    log._file.close()  # what is written fails from now on, once
    log.note(number=0)
    until = time.monotonic() + 5.0
    while not log.lost_total and time.monotonic() < until:
        time.sleep(0.001)  # the thread tells nobody
    log.note(number=1)
    log.close()
    assert (log.lost_total, log.written_total) == (1, 1)
    for number in range(20):  # nobody writes any more
        log.note(number=number)
    assert log.lost_total == 1 + 15

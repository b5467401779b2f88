"""Who may do what at the HTTP door: every route with every role, tokens, revoking, streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvstore.guard import Gate
from kvstore.http import HttpServer
from kvstore.http.routes import ROUTES
from kvstore.model import commands
from kvstore.model.auth_commands import AUTH_ENABLE, ROLE_ADD, ROLE_GRANT, ROOT, USER_ADD, USER_GRANT, USER_REVOKE
from kvstore.model.keys import prefix_end
from kvstore.model.permissions import ADMIN, DELETE, LEASE, READ, VERBS, WATCH, WRITE
from kvstore.security import passwords, tokens
from kvstore.security.tokens import ShortToken
from kvstore.telemetry.metrics import Metrics
from tests.integration.house import House, Reply
from tests.integration.memory_store import MemoryStore

ROOT_PASSWORD = "correct horse battery"
RECORD = passwords.record_of(ROOT_PASSWORD)
KEY = bytes(range(32))


class Guarded(House):
    """A house in which every verb has a user of its own, `r-VERB`, on the keys that begin with `a/`."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.gate = Gate(self.store)
        self.server = HttpServer(self.store, self.metrics, listen=("127.0.0.1", 0), shutdown_s=2.0, gate=self.gate)
        self.store._apply(commands.put(b"a/1", b"mine"))
        self.store._apply(commands.put(b"b/1", b"theirs"))
        for verb, number in VERBS.items():
            self.change(USER_ADD, f"r-{verb}", b"")
            self.change(ROLE_ADD, verb)
            self.change(ROLE_GRANT, verb, number, b"a/", prefix_end(b"a/"))
            self.change(USER_GRANT, f"r-{verb}", verb)
        self.change(USER_ADD, "nobody", b"")
        self.change(AUTH_ENABLE, KEY, RECORD)

    def change(self, action: int, *arguments: Any) -> None:
        op = commands.checked(commands.auth(action, *arguments), self.store.auth.revision)
        assert self.store._apply(op).status == 0

    def token(self, user: str, *, lasts_s: float = 60.0) -> str:
        since = self.store.auth.users[user].since
        return tokens.sign(ShortToken(user, since, self.gate.now_s() + lasts_s), self.store.auth.keys)

    async def of(self, user: str, method: str, target: str, *lines: str, body: bytes | None = None) -> Reply:
        return await self.ask(method, target, f"Authorization: Bearer {self.token(user)}", *lines, body=body)


@pytest.fixture
async def house() -> AsyncIterator[Guarded]:
    house = Guarded()
    await house.server.start()
    yield house
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()
    house.gate.close()


def body(**members: Any) -> bytes:
    return json.dumps(members).encode()


# (method, path) of each route -> what is asked of it, on keys that begin with a/.
ASKED: dict[tuple[str, str], tuple[str, bytes | None]] = {
    ("GET", "/v1/kv/{key}"): ("/v1/kv/a/1", None),
    ("PUT", "/v1/kv/{key}"): ("/v1/kv/a/2", b"x"),
    ("DELETE", "/v1/kv/{key}"): ("/v1/kv/a/2", None),
    ("GET", "/v1/kv"): ("/v1/kv?prefix=a/", None),
    ("DELETE", "/v1/kv"): ("/v1/kv?prefix=a/9", None),
    ("POST", "/v1/compact"): ("/v1/compact", body(revision=1)),
    ("GET", "/v1/watch"): ("/v1/watch?prefix=a/", None),
    ("POST", "/v1/leases"): ("/v1/leases", body(ttl_seconds=30)),
    ("GET", "/v1/leases"): ("/v1/leases", None),
    ("POST", "/v1/leases/keepalive"): ("/v1/leases/keepalive", body(ids=[1])),
    ("GET", "/v1/leases/{id}"): ("/v1/leases/1", None),
    ("DELETE", "/v1/leases/{id}"): ("/v1/leases/1", None),
    ("POST", "/v1/leases/{id}/keepalive"): ("/v1/leases/1/keepalive", None),
    ("GET", "/v1/receipts/{id}"): ("/v1/receipts/n1.e1.1", None),
    ("GET", "/v1/snapshot"): ("/v1/snapshot", None),
    ("POST", "/v1/sessions"): ("/v1/sessions", None),
    ("DELETE", "/v1/sessions/{session}"): ("/v1/sessions/1", None),
    ("GET", "/v1/cluster"): ("/v1/cluster", None),
    ("POST", "/v1/cluster/members"): ("/v1/cluster/members", body(name="n9", peer="127.0.0.1:1")),
    ("DELETE", "/v1/cluster/members/{name}"): ("/v1/cluster/members/n9", None),
    ("GET", "/v1/settings"): ("/v1/settings", None),
    ("PUT", "/v1/settings/{name}"): ("/v1/settings/leases_max", body(value=5_000)),
    ("POST", "/v1/cluster/leader"): ("/v1/cluster/leader", body(name="n1")),
    ("GET", "/v1/odds"): ("/v1/odds?nodes=3", None),
    ("GET", "/debug/trace"): ("/debug/trace?limit=1", None),
    ("GET", "/v1/reports"): ("/v1/reports", None),
    ("GET", "/v1/reports/{path}"): ("/v1/reports/none/report.html", None),
    ("GET", "/v1/auth"): ("/v1/auth", None),
    ("POST", "/v1/auth/keys"): ("/v1/auth/keys", body()),
    ("GET", "/v1/auth/users"): ("/v1/auth/users", None),
    ("POST", "/v1/auth/users"): ("/v1/auth/users", body(name="new")),
    ("GET", "/v1/auth/users/{name}"): ("/v1/auth/users/nobody", None),
    ("DELETE", "/v1/auth/users/{name}"): ("/v1/auth/users/new", None),
    ("POST", "/v1/auth/users/{name}/grant"): ("/v1/auth/users/nobody/grant", body(role="made")),
    ("POST", "/v1/auth/users/{name}/revoke"): ("/v1/auth/users/nobody/revoke", body(role="made")),
    ("GET", "/v1/auth/roles"): ("/v1/auth/roles", None),
    ("POST", "/v1/auth/roles"): ("/v1/auth/roles", body(name="made")),
    ("GET", "/v1/auth/roles/{name}"): ("/v1/auth/roles/read", None),
    ("DELETE", "/v1/auth/roles/{name}"): ("/v1/auth/roles/made", None),
    ("POST", "/v1/auth/roles/{name}/grant"): ("/v1/auth/roles/made/grant", body(verbs=["read"], prefix="c/")),
    ("POST", "/v1/auth/roles/{name}/revoke"): ("/v1/auth/roles/made/revoke", body(verbs=["read"], prefix="c/")),
}
OPEN = {"/livez", "/readyz", "/openapi.json", "/docs", "/ui", "/ui/{file}", "/metrics", "/v1/auth/token"}
# Shown in tests of their own: they go by their bodies, or end what the walk stands on.
ALONE = {"/v1/batch", "/v1/txn", "/v1/auth/users/{name}/password", "/v1/auth/enable", "/v1/auth/disable"}


def test_every_route_declares_a_permission_and_is_walked() -> None:
    for route in ROUTES:
        assert route.permission.about
        assert (route.permission.of in ("open", "metrics")) == (route.path in OPEN)
    walked = {path for _, path in ASKED}
    assert {route.path for route in ROUTES} == walked | OPEN | ALONE
    assert {(route.method, route.path) for route in ROUTES if route.path in walked} == set(ASKED)


async def test_every_role_gets_exactly_what_it_may(house: Guarded) -> None:
    order = {route: place for place, route in enumerate(ASKED)}
    for route in sorted(ROUTES, key=lambda route: order.get((route.method, route.path), 0)):
        asked = ASKED.get((route.method, route.path))
        if asked is None:
            continue
        target, data = asked
        verb = route.permission.verb
        for user in ("nobody", *(f"r-{name}" for name in VERBS)):
            allowed = route.permission.of == "known" or verb == VERBS.get(user[2:])
            got = (
                await house.of(user, route.method, target, body=data)
                if "watch" not in target
                else (await watch_head(house, user, target))
            )
            if allowed:
                assert got.status not in (401, 403), (route.method, route.path, user, got)
            else:
                assert (got.status, got.json["code"]) == (403, "forbidden"), (route.method, route.path, user, got)
                assert got.json["outcome"] == (None if route.read else "not_applied")
        none = await house.ask(route.method, target, body=data)
        assert (none.status, none.json["code"]) == (401, "unauthenticated"), route
        assert none.headers["WWW-Authenticate"] == "Bearer"


async def watch_head(house: Guarded, user: str, target: str) -> Reply:
    wire = await house.wire()
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.token(user)}\r\n\r\n".encode())
    head = (await wire.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    status = int(head[0].split()[1])
    told = b""
    if status != 200:
        length = next(int(line.split(": ")[1]) for line in head if line.startswith("Content-Length"))
        told = await wire.reader.readexactly(length)
    wire.writer.close()
    return Reply(status, {}, told)


@pytest.mark.parametrize(
    ("user", "method", "target", "data"),
    [
        ("r-read", "GET", "/v1/kv/b/1", None),
        ("r-read", "GET", "/v1/kv/b/absent", None),
        ("r-read", "GET", "/v1/kv?prefix=", None),
        ("r-read", "GET", "/v1/kv?start=a/&end=b", None),
        ("r-read", "GET", "/v1/kv/a/1?level=one", b""),
        ("r-write", "PUT", "/v1/kv/b/1?level=one", b"x"),
        ("r-write", "PUT", "/v1/kv/a/1?lease=1", b"x"),
        ("r-delete", "DELETE", "/v1/kv?prefix=", None),
        ("r-watch", "GET", "/v1/watch?prefix=", None),
        ("r-watch", "GET", "/v1/watch?key=b/1", None),
        ("r-read", "POST", "/v1/txn", body(compare=[{"target": "exists", "key": "b/1"}])),
        ("r-read", "POST", "/v1/txn", body(then=[{"op": "get", "key": "a/1"}, {"op": "range", "prefix": "b/"}])),
        ("r-write", "POST", "/v1/txn", body(then=[{"op": "delete", "key": "a/1"}])),
        ("r-write", "POST", "/v1/txn", body(then=[], **{"else": [{"op": "put", "key": "b/2", "value": "x"}]})),
        (
            "r-write",
            "POST",
            "/v1/txn",
            body(then=[{"op": "txn", "compare": [], "then": [{"op": "delete_range", "prefix": "a/"}]}]),
        ),
    ],
)
async def test_every_key_and_range_that_is_touched_is_checked(
    house: Guarded, user: str, method: str, target: str, data: bytes | None
) -> None:
    before = house.store.records
    got = await house.of(user, method, target, body=data)
    fine = target == "/v1/kv/a/1?level=one"
    assert got.status == (200 if fine else 403), got
    assert house.store.records == before


async def test_a_refusal_is_the_same_whether_the_key_is_there_or_not(house: Guarded) -> None:
    there = await house.of("r-read", "GET", "/v1/kv/b/1")
    absent = await house.of("r-read", "GET", "/v1/kv/b/2")
    assert (
        there.json["detail"].replace("b/1", "b/2") == absent.json["detail"] == ("read is not allowed on the key 'b/2'")
    )
    assert {key: there.json[key] for key in there.json if key not in ("detail", "request_id")} == {
        key: absent.json[key] for key in absent.json if key not in ("detail", "request_id")
    }


async def test_a_batch_is_judged_operation_by_operation(house: Guarded) -> None:
    ops = [
        {"op": "put", "key": "a/5", "value": "x"},
        {"op": "put", "key": "b/5", "value": "x"},
        {"op": "get", "key": "a/1"},
        {"op": "delete", "key": "a/1"},
    ]
    results = (await house.of("r-write", "POST", "/v1/batch", body=body(ops=ops))).json["results"]
    assert results[0]["outcome"] == "committed"
    assert [(each["code"], each["outcome"]) for each in results[1:]] == [
        ("forbidden", "not_applied"),
        ("forbidden", None),
        ("forbidden", "not_applied"),
    ]
    assert set(house.store.records) == {b"a/1", b"a/5", b"b/1"}


async def test_a_password_is_exchanged_for_a_token_and_a_new_one_makes_it_void(house: Guarded) -> None:
    login = body(user="root", password=ROOT_PASSWORD)
    wrong = await house.ask("POST", "/v1/auth/token", body=body(user="root", password="wrong wrong"))
    nobody = await house.ask("POST", "/v1/auth/token", body=body(user="who?", password="wrong wrong"))
    assert wrong.status == nobody.status == 401
    assert wrong.json["detail"] == nobody.json["detail"]
    told = (await house.ask("POST", "/v1/auth/token", body=login)).json
    assert (told["user"], told["expires_seconds"]) == ("root", 900)
    line = f"Authorization: Bearer {told['token']}"
    assert (await house.ask("GET", "/v1/kv/b/1", line)).body == b"theirs"
    changed = await house.ask("PUT", f"/v1/auth/users/{ROOT}/password", line, body=body(password="another one"))
    assert changed.status == 200
    assert (await house.ask("GET", "/v1/kv/b/1", line)).status == 401
    assert (await house.ask("POST", "/v1/auth/token", body=body(user="root", password="another one"))).status == 200


async def test_whoever_tries_passwords_is_slowed_down(house: Guarded) -> None:
    wrong = body(user="root", password="wrong wrong")
    answers = [await house.ask("POST", "/v1/auth/token", body=wrong) for _ in range(6)]
    assert [each.status for each in answers] == [401] * 5 + [429]
    assert answers[-1].json["code"] == "too_many_tries"
    assert int(answers[-1].headers["Retry-After"]) >= 1


async def test_everybody_may_change_the_own_password_only(house: Guarded) -> None:
    new = body(password="long enough")
    assert (await house.of("nobody", "PUT", "/v1/auth/users/nobody/password", body=new)).status == 200
    assert (await house.of("nobody", "PUT", f"/v1/auth/users/{ROOT}/password", body=new)).status == 403
    assert (await house.of("nobody", "PUT", "/v1/auth/users/nobody/password", body=body(password=None))).status == 403
    assert (await house.of("r-admin", "PUT", "/v1/auth/users/nobody/password", body=body(password=None))).status == 200


async def test_a_token_that_is_not_good_is_refused(house: Guarded) -> None:
    good = house.token("r-read")
    kind, payload, mac = good.split(".")
    for text in (
        "Basic cm9vdDpyb290",
        "Bearer",
        f"Bearer {kind}.{payload}.{mac[:-2]}",
        f"Bearer {kind}.{mac}.{payload}",
        f"Bearer {house.token('r-read', lasts_s=-1)}",
        f"Bearer {tokens.sign(ShortToken('root', house.store.auth.users['root'].since, 1e12), [(1, KEY)])}",
        f"Bearer {tokens.sign(ShortToken('root', 0, 1e12), house.store.auth.keys)}",
    ):
        assert (await house.ask("GET", "/v1/kv/a/1", f"Authorization: {text}")).status == 401, text
    assert (await house.ask("GET", "/v1/kv/a/1", f"authorization: bearer {good}")).status == 200


async def test_what_was_signed_with_a_forgotten_key_is_void(house: Guarded) -> None:
    line = f"Authorization: Bearer {house.token('root')}"
    assert (await house.ask("POST", "/v1/auth/keys", line, body=body())).status == 200
    assert (await house.ask("GET", "/v1/kv/a/1", line)).status == 200
    assert (await house.ask("POST", "/v1/auth/keys", line, body=body(forget=True))).status == 200
    assert (await house.ask("GET", "/v1/kv/a/1", line)).status == 401


async def test_a_watch_ends_when_its_user_may_not_watch_any_more(house: Guarded) -> None:
    wire = await house.wire()
    line = f"Authorization: Bearer {house.token('r-watch')}"
    await wire.send(f"GET /v1/watch?prefix=a/ HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
    await wire.reader.readuntil(b"on\n\n")
    assert (await house.of("r-write", "PUT", "/v1/kv/a/7", body=b"seen")).status == 200
    await wire.reader.readuntil(b"event: put")
    house.change(USER_REVOKE, "r-watch", "watch")
    assert (await house.of("r-write", "PUT", "/v1/kv/a/8", body=b"unseen")).status == 200
    rest = await asyncio.wait_for(wire.reader.readuntil(b"0\r\n\r\n"), 3)
    assert b"event: closed" in rest
    assert b"a/8" not in rest
    assert (await house.of("r-watch", "GET", "/v1/watch?prefix=a/")).status == 403


async def test_a_stream_of_keepalives_ends_with_the_right_to_it(house: Guarded) -> None:
    lease = (await house.of("r-lease", "POST", "/v1/leases", body=body(ttl_seconds=30))).json["id"]
    wire = await house.wire()
    head = f"Authorization: Bearer {house.token('r-lease')}\r\nContent-Type: application/x-ndjson\r\n"
    await wire.send(
        f"POST /v1/leases/keepalive HTTP/1.1\r\nHost: x\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
    )
    line = json.dumps({"ids": [lease]}).encode() + b"\n"
    await wire.send(b"%x\r\n%b\r\n" % (len(line), line))
    await wire.reader.readuntil(b'"gone":[]')
    house.change(USER_REVOKE, "r-lease", "lease")
    await wire.send(b"%x\r\n%b\r\n" % (len(line), line))
    rest = await asyncio.wait_for(wire.reader.readuntil(b"0\r\n\r\n"), 3)
    assert b'"forbidden"' in rest


async def test_a_lease_shows_only_keys_that_may_be_read_and_ends_only_with_those_that_may_be_deleted(
    house: Guarded,
) -> None:
    house.change(ROLE_ADD, "leaser")
    house.change(ROLE_GRANT, "leaser", LEASE | READ | WRITE | DELETE, b"a/", b"a0")
    house.change(USER_ADD, "leaser", b"")
    house.change(USER_GRANT, "leaser", "leaser")
    lease = (await house.of("leaser", "POST", "/v1/leases", body=body(ttl_seconds=30))).json["id"]
    assert (await house.of("leaser", "PUT", f"/v1/kv/a/3?lease={lease}", body=b"x")).status == 200
    assert (await house.of("root", "PUT", f"/v1/kv/b/3?lease={lease}", body=b"x")).status == 200
    assert [each["key"] for each in (await house.of("leaser", "GET", f"/v1/leases/{lease}")).json["keys"]] == ["a/3"]
    refused = await house.of("leaser", "DELETE", f"/v1/leases/{lease}")
    assert refused.status == 403
    assert "b/3" not in refused.json["detail"]
    assert (await house.of("root", "DELETE", f"/v1/leases/{lease}")).json["deleted"] == 2


async def test_a_write_that_was_checked_before_a_revocation_is_checked_again(house: Guarded) -> None:
    """The revocation comes between the check at the door and the log."""
    house.store.gate = asyncio.Event()
    writing = asyncio.create_task(house.of("r-write", "PUT", "/v1/kv/a/late", body=b"x"))
    await house.store.entered.wait()
    house.change(USER_REVOKE, "r-write", "write")
    house.store.gate.set()
    got = await writing
    assert (got.status, got.json["outcome"]) == (403, "not_applied")
    assert b"a/late" not in house.store.records


async def test_a_write_that_still_is_allowed_survives_another_change(house: Guarded) -> None:
    house.store.gate = asyncio.Event()
    writing = asyncio.create_task(house.of("r-write", "PUT", "/v1/kv/a/late", body=b"x"))
    await house.store.entered.wait()
    house.change(USER_REVOKE, "r-read", "read")
    house.store.gate.set()
    assert (await writing).status == 200
    assert house.store.records[b"a/late"].version == 1


async def test_a_read_that_was_checked_before_a_revocation_tells_nothing(house: Guarded) -> None:
    house.store.gate = asyncio.Event()
    reading = asyncio.create_task(house.of("r-read", "GET", "/v1/kv/a/1"))
    await house.store.entered.wait()
    house.change(USER_REVOKE, "r-read", "read")
    house.store.gate.set()
    assert (await reading).status == 403


async def test_a_write_of_nobody_that_meets_the_enabling_is_not_applied() -> None:
    house = House()
    await house.server.start()
    house.store.gate = asyncio.Event()
    writing = asyncio.create_task(house.ask("PUT", "/v1/kv/a", body=b"x"))
    await house.store.entered.wait()
    assert house.store._apply(commands.auth(AUTH_ENABLE, KEY, RECORD)).status == 0
    house.store.gate.set()
    got = await writing
    assert (got.status, got.json["code"], got.json["retry_safe"]) == (503, "auth_changed", True)
    assert not house.store.records
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()


async def test_what_nobody_asked_before_the_enabling_is_not_told_behind_it() -> None:
    """A node that was behind: it catches up while it answers, and so learns that auth is enabled."""
    asked: list[tuple[str, str, bytes | None]] = [
        ("GET", "/v1/kv/a", None),
        ("GET", "/v1/kv?prefix=", None),
        ("GET", "/v1/watch?prefix=", None),
        ("GET", "/v1/snapshot", None),
        ("POST", "/v1/batch", body(ops=[{"op": "get", "key": "a"}])),
    ]
    for method, target, data in asked:
        house = House()
        await house.server.start()
        house.store._apply(commands.put(b"a", b"MARKER"))
        house.store.backup_bytes = b"MARKER" * 1_000
        house.store.gate = asyncio.Event()
        reading = asyncio.create_task(house.ask(method, target, body=data))
        await house.store.entered.wait()
        assert house.store._apply(commands.auth(AUTH_ENABLE, KEY, RECORD)).status == 0
        house.store.gate.set()
        got = await reading
        assert (got.status, got.json["code"]) == (503, "auth_changed"), target
        assert got.json["outcome"] == (None if method == "GET" else "unknown")
        assert b"MARKER" not in got.body
        assert not [backup for backup in house.store.backups if backup.open]
        for wire in house.wires:
            wire.writer.close()
        await house.server.close()


async def test_streams_that_nobody_opened_end_with_the_enabling() -> None:
    house = House()
    await house.server.start()
    wire = await house.wire()
    await wire.send(b"GET /v1/watch?prefix= HTTP/1.1\r\nHost: x\r\n\r\n")
    await wire.reader.readuntil(b"on\n\n")
    assert house.store._apply(commands.auth(AUTH_ENABLE, KEY, RECORD)).status == 0
    op = commands.checked(commands.put(b"secret", b"x"), house.store.auth.revision)
    assert house.store._apply(op).status == 0
    assert b"secret" not in await asyncio.wait_for(wire.reader.read(), 8)
    wire.writer.close()
    await house.server.close()


async def test_it_is_enabled_with_roots_password_and_disabled_by_who_may_admin() -> None:
    house = House()
    await house.server.start()
    assert (await house.ask("POST", "/v1/auth/enable", body=b"{}")).json["code"] == "auth_refused"
    assert (await house.ask("POST", "/v1/auth/token", body=body(user="a", password="b"))).status == 409
    assert (await house.ask("GET", "/v1/auth")).json == {
        "enabled": False,
        "auth_revision": 0,
        "user": None,
        "roles": [],
    }
    assert (await house.ask("POST", "/v1/auth/enable", body=body(password="short"))).status == 400
    assert (await house.ask("POST", "/v1/auth/enable", body=body(password=ROOT_PASSWORD))).status == 200
    assert (await house.ask("GET", "/v1/kv/a")).status == 401
    for path in sorted(OPEN - {"/v1/auth/token"}):
        assert (await house.ask("GET", path.replace("{file}", "app.js"))).status == 200
    login = body(user="root", password=ROOT_PASSWORD)
    line = "Authorization: Bearer " + (await house.ask("POST", "/v1/auth/token", body=login)).json["token"]
    assert (await house.ask("GET", "/v1/auth", line)).json["user"] == "root"
    assert (await house.ask("DELETE", "/v1/auth/users/root", line)).json["code"] == "auth_refused"
    assert (await house.ask("POST", "/v1/auth/disable", line)).status == 200
    assert (await house.ask("GET", "/v1/kv/a")).status == 404
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()


async def test_metrics_may_be_closed_too(house: Guarded) -> None:
    assert (await house.ask("GET", "/metrics")).status == 200
    house.gate.metrics_private = True
    assert (await house.ask("GET", "/metrics")).status == 401
    assert (await house.of("nobody", "GET", "/metrics")).status == 200


def test_the_verbs_of_this_test_are_all() -> None:
    assert set(VERBS.values()) == {READ, WRITE, DELETE, WATCH, LEASE, ADMIN}

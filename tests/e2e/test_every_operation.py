"""Every operation at every door, on a real cluster of three: HTTP, the command line, both clients. What each door
offers is read from the product, so that nothing can be added without being shown here.
"""

import asyncio
import http.client
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kvcli.main import COMMANDS
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST, free_ports
from kvstore.client import AsyncClient, Client, Get, Put, txn
from kvstore.http.routes import GIVEN, ROUTES
from tests.support.kv_command import Captured, Kv

PATIENCE_S = 30.0

# What runs or breaks whole clusters has tests of its own, and so has what is about this machine only.
NOT_ABOUT_DATA = {"serve", "cluster", "chaos", "odds", "cert"}


class Http:
    """Raw requests to one node; `seen` has the routes that were taken."""

    def __init__(self, endpoint: str) -> None:
        self._address = urlsplit(endpoint).netloc
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, method: str, target: str, body: Any = None, *, code: int = 200, **headers: str) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE_S)
        try:
            connection.request(method, target, data, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            told = answer.readline() if "watch" in target else answer.read()
        finally:
            connection.close()
        assert answer.status == code, (method, target, answer.status, told)
        path = target.partition("?")[0]
        for prefix, suffix, template in GIVEN:
            if path.startswith(prefix) and path.endswith(suffix) and path not in {route.path for route in ROUTES}:
                path = template
                break
        self.seen.add((method, path))
        return json.loads(told) if "json" in answer.headers.get("Content-Type", "") else told


def test_every_route(kv_cluster: ClusterFactory, tmp_path: Path) -> None:
    cluster = kv_cluster(3)
    follower = next(node.http for node in cluster.topology.nodes if node.name != cluster.leader())
    ask = Http(follower)
    assert ask("PUT", "/v1/kv/a", b"1")["revision"] == 1
    assert ask("GET", "/v1/kv/a") == b"1"
    assert [each["key"] for each in ask("GET", "/v1/kv?prefix=")["records"]] == ["a"]
    results = ask("POST", "/v1/batch", {"ops": [{"op": "put", "key": "b", "value": "2"}]})["results"]
    assert results[0]["revision"] == 2
    done = ask("POST", "/v1/txn", {"compare": [], "then": [{"op": "put", "key": "c", "value": "3"}], "else": []})
    assert done["succeeded"]
    lease = ask("POST", "/v1/leases", {"ttl_seconds": 30}, code=201)["id"]
    assert ask("GET", "/v1/leases")["leases"] == [lease]
    assert ask("GET", f"/v1/leases/{lease}")["ttl_seconds"] == 30
    assert ask("POST", f"/v1/leases/{lease}/keepalive")["id"] == lease
    assert ask("POST", "/v1/leases/keepalive", {"ids": [lease]})["gone"] == []
    assert ask("DELETE", f"/v1/leases/{lease}")["deleted"] == 0
    receipt = ask("PUT", "/v1/kv/d?level=one", b"4", code=202)["receipt"]
    assert ask("GET", f"/v1/receipts/{receipt}")["state"] in ("pending", "committed")
    session = ask("POST", "/v1/sessions", code=201)["session"]
    assert ask("DELETE", f"/v1/sessions/{session}")["session"] == session
    assert ask("GET", "/v1/watch?prefix=&from=1").startswith(b":")
    assert ask("DELETE", "/v1/kv/b")["revision"] > 3
    assert ask("DELETE", "/v1/kv?prefix=c")["deleted"] == 1
    assert ask("POST", "/v1/compact", {"revision": 2})
    assert len(ask("GET", "/v1/snapshot")) > 500
    assert ask("GET", "/v1/settings")["feature_level"] == 1
    assert ask("PUT", "/v1/settings/leases_max", {"value": 5_000})["settings"]["leases_max"]["value"] == 5_000
    assert len(ask("GET", "/v1/cluster")["members"]) == 3
    assert ask("POST", "/v1/cluster/members", {"name": "n4", "peer": f"{HOST}:{free_ports(1)[0]}"})
    assert ask("DELETE", "/v1/cluster/members/n4?force=true")["lost_writes"] == 0
    other = next(name for name in cluster.topology.names if name != cluster.leader())
    assert ask("POST", "/v1/cluster/leader", {"name": other})["leader"] == other
    assert ask("GET", "/livez") == ask("GET", "/readyz") == b"ok\n"
    assert ask("GET", "/openapi.json")["openapi"].startswith("3.1")
    assert ask("GET", "/docs").startswith(b"<!doctype html>")
    assert ask("GET", "/debug/trace?limit=1")["seq"] == 1
    assert ask("GET", "/ui").startswith(b"<!doctype html>")
    assert b"import" in ask("GET", "/ui/app.js")
    assert [row["majority"] for row in ask("GET", "/v1/odds?nodes=3,4&p=0.1")["rows"]] == [2, 3]
    assert ask("GET", "/v1/reports") == {"configured": False, "reports": []}
    assert ask("GET", "/v1/reports/a/report.html", code=404)["code"] == "route_not_found"
    assert b"kv_raft_term" in ask("GET", "/metrics")
    guard(ask)
    assert {(route.method, route.path) for route in ROUTES} - ask.seen == set()


def guard(ask: Http) -> None:
    """Users and roles; in the end auth is not enabled any more."""
    assert not ask("GET", "/v1/auth")["enabled"]
    assert ask("POST", "/v1/auth/roles", {"name": "r"})["auth_revision"] == 1
    ask("POST", "/v1/auth/roles/r/grant", {"verbs": ["read"], "prefix": "a"})
    assert ask("GET", "/v1/auth/roles/r")["permissions"] == [{"verbs": ["read"], "start": "a", "end": "b"}]
    ask("POST", "/v1/auth/roles/r/revoke", {"verbs": ["read"], "prefix": "a"})
    assert ask("GET", "/v1/auth/roles")["roles"] == [{"name": "r", "permissions": []}]
    ask("POST", "/v1/auth/users", {"name": "u"})
    ask("POST", "/v1/auth/users/u/grant", {"role": "r"})
    assert ask("GET", "/v1/auth/users/u")["roles"] == ["r"]
    ask("POST", "/v1/auth/users/u/revoke", {"role": "r"})
    ask("PUT", "/v1/auth/users/u/password", {"password": "long enough"})
    ask("DELETE", "/v1/auth/roles/r")
    ask("POST", "/v1/auth/enable", {"password": "long enough"})
    ask("GET", "/v1/kv/a", code=401)
    token = ask("POST", "/v1/auth/token", {"user": "root", "password": "long enough"})["token"]
    root = {"Authorization": f"Bearer {token}"}
    assert ask("GET", "/v1/auth", **root)["user"] == "root"
    assert len(ask("GET", "/v1/auth/users", **root)["users"]) == 2
    ask("POST", "/v1/auth/keys", {}, **root)
    ask("DELETE", "/v1/auth/users/u", **root)
    ask("POST", "/v1/auth/disable", **root)


def test_every_command(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured
) -> None:
    cluster = kv_cluster(3)
    kv, used = Kv(cluster.endpoints, monkeypatch, capfdbinary), set()

    def run(*arguments: str, **how: Any) -> Any:
        used.add(arguments[0])
        return (kv.json if how.pop("shape", False) else kv)(*arguments, **how)

    run("put", "a", "1")
    assert run("get", "a") == "1"
    assert "succeeded" in run("txn", stdin='exists("a")\n\nput a 2\n\n')
    run("delete", "a")
    run("import", "-", stdin='{"key":"b","value":"2"}\n')
    assert run("export") == '{"key": "b", "value": "2"}\n'
    assert run("watch", "b", "--from", "1", "--limit", "1").startswith("4\tput\tb")
    lease = run("lease", "grant", "30").strip()
    assert run("lease", "list").strip() == lease
    run("lease", "keep-alive", lease, "--once")
    run("lease", "show", lease)
    run("lease", "revoke", lease)
    assert run("lock", "l", "--", "sh", "-c", "exit 0") == ""
    assert run("elect", "e", "--", "sh", "-c", "exit 0") == ""
    receipt = run("put", "c", "3", "--level", "one", "-o", "raw").strip()
    assert run("receipt", receipt, "--wait", shape=True)["state"] == "committed"
    run("compact", "2")
    assert len(run("status", shape=True)["members"]) == 3
    run("member", "transfer")
    run("snapshot", "save", str(tmp_path / "b"))
    run("settings", "set", "leases_max", "5000")
    run("doctor")
    run("role", "add", "r")
    run("role", "grant", "r", "read,write", "--only", "a")
    assert run("role", "list", shape=True)["roles"][0]["permissions"][0]["verbs"] == ["read", "write"]
    run("role", "revoke", "r", "read", "--only", "a")
    run("user", "add", "u", "--no-password")
    run("user", "grant", "u", "r")
    assert run("user", "list", shape=True)["users"][0]["roles"] == ["r"]
    run("user", "revoke", "u", "r")
    run("user", "passwd", "u", "--new-password-file", "-", stdin="long enough\n")
    run("user", "delete", "u")
    run("role", "delete", "r")
    run("auth", "enable", "--new-password-file", "-", stdin="long enough\n")
    monkeypatch.setenv("KV_PASSWORD", "long enough")
    monkeypatch.setenv("KV_TOKEN", run("token", "--user", "root").strip())
    run("auth", "rotate")
    assert run("auth", "status", shape=True)["user"] == "root"
    run("doctor")
    run("auth", "disable")
    assert run("shell", stdin="get b\n.output json\nget b\n").startswith('2\n{"key": "b"')
    assert len(run("top", "--once", "--interval", "0.2", shape=True)["nodes"]) == 3
    assert "_kv_completion" in run("completion", "bash")
    assert "KV_ENDPOINTS" in run("help", "options")
    assert run("bench", "put", "--count", "20", "--keys", "5", "--warmup", "0", shape=True)["operations"] == 20
    assert set(COMMANDS) - NOT_ABOUT_DATA - used == set()


class Seen:
    """A client, and the names of what was used of it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.names.add(name)
        return getattr(self._client, name)


def offered(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_method_of_the_blocking_client(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    with Client(cluster.endpoints, timeout_s=PATIENCE_S) as plain:
        client = Seen(plain)
        client.put(b"a", b"1")
        assert client.get(b"a").value == client.get_value(b"a") == b"1"
        assert client.batch([Put(b"b", b"2"), Get(b"a")])[0].revision == 2
        assert client.txn([txn.exists(b"a")], [txn.Put(b"c", b"3")]).succeeded
        assert [key for key, _ in client.range(prefix=b"").records] == [b"a", b"b", b"c"]
        assert [key for key, _ in client.scan(prefix=b"")] == [b"a", b"b", b"c"]
        assert sum(len(page.records) for page in client.pages(prefix=b"")) == 3
        client.delete(b"c")
        assert client.delete_range(prefix=b"b").deleted == 1
        with client.watch(b"a", start=1) as watch:
            assert next(watch).revision == 1
        lease = client.grant(30)
        assert client.leases() == [lease]
        assert client.keep_alive([lease]).gone == []
        assert client.lease_status(lease).keys == []
        assert client.revoke(lease) == 0
        with client.lease(ttl_seconds=5), client.lock("l"), client.elect("e", b"me"):
            pass
        receipt = client.put(b"d", b"4", level="one").receipt
        assert client.wait_receipt(receipt).state == "committed"
        assert client.receipt(receipt).state == "committed"
        assert client.compact(2) == 2
        assert client.backup(io.BytesIO()) > 500
        assert client.change_setting("leases_max", 5_000) == client.settings()
        assert "kv_raft_term" in client.metrics()
        assert len(client.cluster().members) == len(client.cluster_document()["members"]) == 3
        client.add_member("n4", f"{HOST}:{free_ports(1)[0]}")
        assert client.remove_member("n4", force=True) == 0
        assert client.transfer_leader().leader
        client.add_role("r")
        client.grant_permission("r", ["read"], start=b"a", end=b"b")
        assert client.role("r") == client.roles()[0]
        client.revoke_permission("r", ["read"], start=b"a", end=b"b")
        client.add_user("u", "long enough")
        client.grant_role("u", "r")
        assert client.user("u") == client.users()[0]
        client.revoke_role("u", "r")
        client.set_password("u", "longer than that")
        client.delete_role("r")
        client.rotate_keys()
        client.enable_auth("long enough")
        assert client.get_token("root", "long enough")[1] == 900
        with Client(cluster.endpoints, user="root", password="long enough") as root:
            assert root.auth_status()["user"] == "root"
            root.delete_user("u")
            root.disable_auth()
        assert not client.auth_status()["enabled"]
        client.names |= {"delete_user", "disable_auth"}
        assert len(client.endpoints) == 3
        assert client.retries >= 0
        client.close()
        assert offered(Client) - client.names == set()


async def test_every_method_of_the_asynchronous_client(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as plain:
        client = Seen(plain)
        await client.put(b"a", b"1")
        assert (await client.get(b"a")).value == await client.get_value(b"a") == b"1"
        assert (await client.batch([Put(b"b", b"2"), Get(b"a")]))[0].revision == 2
        assert (await client.txn([txn.exists(b"a")], [txn.Put(b"c", b"3")])).succeeded
        assert [key for key, _ in (await client.range(prefix=b"")).records] == [b"a", b"b", b"c"]
        assert [key async for key, _ in client.scan(prefix=b"")] == [b"a", b"b", b"c"]
        assert [len(page.records) async for page in client.pages(prefix=b"")] == [3]
        await client.delete(b"c")
        assert (await client.delete_range(prefix=b"b")).deleted == 1
        async with client.watch(b"a", start=1) as watch:
            assert (await anext(watch)).revision == 1
        lease = await client.grant(30)
        assert await client.leases() == [lease]
        assert (await client.keep_alive([lease])).gone == []
        assert (await client.lease_status(lease)).keys == []
        assert await client.revoke(lease) == 0
        async with client.lease(ttl_seconds=5), client.lock("l"), client.elect("e", b"me"):
            pass
        receipt = (await client.put(b"d", b"4", level="one")).receipt
        assert (await client.wait_receipt(receipt)).state == "committed"
        assert (await client.receipt(receipt)).state == "committed"
        assert await client.compact(2) == 2
        assert await client.backup(io.BytesIO()) > 500
        assert await client.change_setting("leases_max", 5_000) == await client.settings()
        assert "kv_raft_term" in await client.metrics()
        assert len((await client.cluster()).members) == len((await client.cluster_document())["members"]) == 3
        await client.add_member("n4", f"{HOST}:{free_ports(1)[0]}")
        assert await client.remove_member("n4", force=True) == 0
        assert (await client.transfer_leader()).leader
        await client.add_role("r")
        await client.grant_permission("r", ["read"], start=b"a", end=b"b")
        assert await client.role("r") == (await client.roles())[0]
        await client.revoke_permission("r", ["read"], start=b"a", end=b"b")
        await client.add_user("u", "long enough")
        await client.grant_role("u", "r")
        assert await client.user("u") == (await client.users())[0]
        await client.revoke_role("u", "r")
        await client.set_password("u", "longer than that")
        await client.delete_role("r")
        await client.rotate_keys()
        await client.enable_auth("long enough")
        assert (await client.get_token("root", "long enough"))[1] == 900
        async with AsyncClient(cluster.endpoints, user="root", password="long enough") as root:
            assert (await root.auth_status())["user"] == "root"
            await root.delete_user("u")
            await root.disable_auth()
        assert not (await client.auth_status())["enabled"]
        client.names |= {"delete_user", "disable_auth"}
        assert len(client.endpoints) == 3
        assert client.retries >= 0
        await client.close()
        assert offered(AsyncClient) - client.names == set()


KEYS = 5_000


async def test_an_import_and_a_scan_go_on_over_the_end_of_leaders(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured
) -> None:
    cluster = kv_cluster(3)
    kv = Kv(cluster.endpoints, monkeypatch, capfdbinary)
    lines = tmp_path / "lines"
    lines.write_text("".join(f'{{"key": "k{number:06d}", "value": "{number}"}}\n' for number in range(KEYS)))
    importing = kv.start("import", str(lines), "--timeout", "60")
    async with AsyncClient(cluster.endpoints, timeout_s=PATIENCE_S) as client:
        async with asyncio.timeout(PATIENCE_S):
            while (await client.range(prefix=b"k", limit=1)).count < KEYS // 10:
                await asyncio.sleep(0.01)
        assert importing.poll() is None
        await asyncio.to_thread(replace_leader, cluster)
        _, said = await asyncio.to_thread(importing.communicate)
        assert importing.returncode == 0, said
        found: dict[bytes, bytes] = {}
        async for key, record in client.scan(prefix=b"k"):
            found[key] = record.value
            if len(found) == KEYS // 2:
                killing = asyncio.create_task(asyncio.to_thread(replace_leader, cluster))
        await killing
        assert found == {b"k%06d" % number: b"%d" % number for number in range(KEYS)}
    exporting = kv.start("export", str(tmp_path / "exported"), "--timeout", "60")
    while exporting.poll() is None and not list(tmp_path.glob("exported.*.partial")):
        await asyncio.sleep(0.005)
    await asyncio.to_thread(replace_leader, cluster)
    _, said = await asyncio.to_thread(exporting.communicate)
    assert exporting.returncode == 0, said
    assert (tmp_path / "exported").read_text() == lines.read_text()


def replace_leader(cluster: Cluster) -> None:
    """Kill it, and start it again."""
    leader = cluster.leader()
    assert leader is not None
    cluster.kill(leader)
    cluster.restart(leader)

"""Users and permissions on a real cluster of three: the command line, the client, every node, a revocation, secrets."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient, Client
from kvstore.consensus.disk import OsDisk
from kvstore.errors import Forbidden, KvError, Unauthenticated
from kvstore.http.routes import ROUTES
from kvstore.node.new_cluster import verify
from tests.support.kv_command import Captured, Kv

ROOT_PASSWORD = "MARKER-root-password-5f1c"
APP_PASSWORD = "MARKER-app-password-77aa"


def spellings(secret: bytes) -> list[bytes]:
    """As it might be written down."""
    return [secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode()]


def test_a_cluster_is_closed_used_and_opened_again(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured
) -> None:
    cluster = kv_cluster(3, env={"KV_AUDIT_LOG": str(tmp_path / "audit.log"), "KV_LOG_LEVEL": "debug"})
    run = kv = Kv(cluster.endpoints, monkeypatch, capfdbinary)
    assert "disabled" in run("auth", "status")
    run("put", "other/1", "theirs")
    run("auth", "enable", "--keep-password", code=4)
    run("auth", "enable", "--new-password-file", "-", stdin=f"{ROOT_PASSWORD}\n")
    run("get", "other/1", code=6)
    monkeypatch.setenv("KV_USER", "root")
    run("get", "other/1", "--password-file", "-", stdin="a wrong one\n", code=6)
    monkeypatch.setenv("KV_PASSWORD", ROOT_PASSWORD)
    assert run("get", "other/1") == "theirs"
    run("user", "add", "app", "--new-password-file", "-", stdin=f"{APP_PASSWORD}\n")
    run("role", "add", "apps")
    run("role", "grant", "apps", "read,write,delete,watch,lease", "--prefix", "app/")
    run("user", "grant", "app", "apps")
    assert "prefix app/" in run("role", "show", "apps")
    assert json.loads(run("user", "list", "-o", "json"))["users"][0] == {
        "name": "app",
        "password": True,
        "roles": ["apps"],
    }
    monkeypatch.delenv("KV_USER")
    monkeypatch.delenv("KV_PASSWORD")
    token = kv("token", "--user", "app", "--password-file", "-", stdin=f"{APP_PASSWORD}\n").strip()
    monkeypatch.setenv("KV_TOKEN", token)
    run("put", "app/1", "mine")
    run("put", "other/1", "mine", code=6)
    run("get", "--prefix", "", code=6)
    assert "you are app" in run("auth", "status")
    run("user", "list", code=6)

    # Each node by itself: the same answer. A user whom one node has forgotten is forgotten on all.
    with Client(cluster.endpoints, user="root", password=ROOT_PASSWORD) as root:
        for node in cluster.topology.nodes:
            with Client([node.http], token=token) as app:
                assert app.get_value(b"app/1") == b"mine"
                app.put(b"app/2", node.name.encode())
                with pytest.raises(Forbidden, match="read is not allowed on the key 'other/1'"):
                    app.get(b"other/1")
                with app.lease(ttl_seconds=10), app.lock("app/lock"):
                    pass
        # The token outlives every process; the leader's successor knows it.
        cluster.restart(cluster.topology.names[0])
        with Client([cluster.topology.nodes[0].http], token=token, timeout_s=20.0) as app:
            assert app.get_value(b"app/1") == b"mine"
        root.revoke_role("app", "apps")
        for node in cluster.topology.nodes:
            with Client([node.http], token=token) as app:
                with pytest.raises(Forbidden):
                    app.get(b"app/1")
                with pytest.raises(Forbidden):
                    app.put(b"app/1", b"late")
        root.set_password("app", "yet another one")
        for node in cluster.topology.nodes:
            with Client([node.http], token=token) as app, pytest.raises(Unauthenticated):
                app.get(b"app/1")
        assert root.get_value(b"app/1") == b"mine"
        digests = {view.digest["value"] for view in root.cluster().members if view.digest}
        assert len(digests) == 1
        shown = all_that_is_shown(cluster, root.get_token("root", ROOT_PASSWORD)[0])
        root.disable_auth()
    run("get", "other/1")

    # Passwords and tokens are nowhere at all, signing keys and hashes in the data of nodes only.
    run("snapshot", "save", str(tmp_path / "backup"))
    auth = verify(OsDisk(), str(tmp_path / "backup"))[1].auth
    secrets = [each for _, key in auth.keys for each in spellings(key)]
    secrets += [each for user in auth.users.values() for each in spellings(user.password)]
    anywhere = [b"MARKER", token.encode(), token.rpartition(".")[2].encode()]
    logs = 0
    for path in cluster.topology.directory.rglob("*"):
        if path.is_file():
            logs += path.name == "log"
            private = "log" not in path.name
            found = path.read_bytes()
            assert not [each for each in (anywhere if private else anywhere + secrets) if each in found], path
    assert logs == 3
    audit = (tmp_path / "audit.log").read_bytes()
    assert audit.count(b"login") > 3
    assert b"app/1" in audit
    metrics = [urllib.request.urlopen(f"{node.http}/metrics").read() for node in cluster.topology.nodes]
    # What kv token prints is the one place where a token is meant to be.
    said = [each for each in kv.said if each.strip() != token.encode()]
    assert len(said) == len(kv.said) - 1
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert sum(b"serve" in each and str(cluster.topology.directory).encode() in each for each in arguments) == 3
    assert len(shown) > 40
    for each in (audit, *metrics, *said, *shown, *arguments):
        assert not [secret for secret in anywhere + secrets if secret in each]


def all_that_is_shown(cluster: Cluster, token: str) -> list[bytes]:
    """What every node answers to root on all routes that take nothing from a path but a backup's, and on some that are
    often found where nobody meant them to be.
    """
    paths = [route.path for route in ROUTES if route.method == "GET" and "{" not in route.path]
    paths = [path for path in paths if path not in ("/v1/snapshot", "/v1/watch")]
    paths += ["/debug", "/debug/pprof", "/debug/vars", "/v1/debug", "/v1/auth/users/app", "/v1/auth/roles/apps", "/env"]
    shown = []
    for node in cluster.topology.nodes:
        for path in paths:
            request = urllib.request.Request(f"{node.http}{path}", headers={"Authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    shown.append(answer.read())
            except urllib.error.HTTPError as refused:
                shown.append(refused.read())
    return shown


async def test_a_revocation_is_not_outrun_by_writes_at_any_node(kv_cluster: ClusterFactory) -> None:
    """Writers at every node write as fast as they can; once the revocation is acknowledged, nothing of theirs is
    applied above the revision that the store had then.
    """
    cluster = kv_cluster(3)
    async with AsyncClient(cluster.endpoints) as client:
        await client.enable_auth(ROOT_PASSWORD)
    async with AsyncClient(cluster.endpoints, user="root", password=ROOT_PASSWORD) as root:
        await root.add_role("writers")
        await root.grant_permission("writers", ["write"], prefix=b"w/")
        await root.add_user("w", APP_PASSWORD)
        await root.grant_role("w", "writers")
        token, _ = await root.get_token("w", APP_PASSWORD)
        writers = [asyncio.create_task(write(cluster, number, token)) for number in range(3)]
        async with asyncio.timeout(30):
            while (await root.range(prefix=b"w/")).count < 60:
                await asyncio.sleep(0.02)
        await root.revoke_role("w", "writers")
        mark = await root.put(b"mark", b"")
        assert mark.revision is not None
        acknowledged = await asyncio.gather(*writers)
        assert all(acknowledged)
        assert max(revision for revisions in acknowledged for revision in revisions) < mark.revision
        newest = max([record.mod_revision async for _, record in root.scan(prefix=b"w/")])
        assert newest < mark.revision


async def write(cluster: Cluster, number: int, token: str) -> list[int]:
    """The revisions that were acknowledged, until it is forbidden."""
    revisions: list[int] = []
    async with AsyncClient([cluster.topology.nodes[number].http], token=token, timeout_s=10.0) as client:
        for count in range(100_000):
            try:
                written = await client.put(b"w/%d/%d" % (number, count), b"x")
            except Forbidden:
                return revisions
            except KvError as failed:
                if failed.outcome != "not_applied":
                    raise
                continue
            assert written.revision is not None
            revisions.append(written.revision)
    raise AssertionError("it was never forbidden")

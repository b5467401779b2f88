"""`kv txn`, `watch`, `lease`, `lock`, `elect`, `compact` and what is new in put, get and delete, on a real cluster."""

import json
import signal
import socket
import sys

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from tests.support.kv_command import Captured, Kv


def test_data_commands(kv_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured) -> None:
    cluster = kv_cluster(3)
    kv = Kv(cluster.topology.endpoints, monkeypatch, capfdbinary)
    kv("put", "color", "red", "--if-exists", code=1)
    first = kv.json("put", "color", "blue")["revision"]
    kv("put", "color", "green", "--if-exists")
    assert kv("get", "color", "--revision", str(first)) == "blue"

    told = kv("txn", stdin='value("color") = "green"\n\nput owner "me and you"\nget color\n\nget owner\n')
    assert told == f"succeeded, revision {first + 2}\nput owner, version 1\ncolor\tgreen\n"
    assert kv("txn", stdin="!exists(owner)\n\n\nget owner", code=1).startswith("failed")
    told = kv.json("txn", stdin='{"then": [{"op": "range", "prefix": ""}, {"op": "txn"}]}')
    assert (told["results"][0]["count"], told["results"][1]["succeeded"]) == (2, True)
    kv("txn", stdin="nonsense", code=2)

    lease = kv("lease", "grant", "60").strip()
    kv("put", "leased", "v", "--lease", lease)
    assert kv("lease", "list").split() == [lease]
    assert kv.json("lease", "show", lease)["keys"] == [{"key": "leased"}]
    assert kv.json("lease", "keep-alive", lease, "--once") == {"id": int(lease), "ttl_seconds": 60.0}
    assert kv("lease", "revoke", lease) == "revoked; 1 key went with it\n"
    kv("lease", "keep-alive", lease, "--once", code=1)

    assert kv("delete", "--prefix", "", "--dry-run").startswith("2 keys would go")
    assert kv.json("delete", "--start", "c", "--end", "d")["deleted"] == 1
    lines = kv("watch", "--prefix", "", "--from", str(first), "--limit", "4", "--previous").splitlines()
    assert lines == [
        f"{first}\tput\tcolor\tblue",
        f"{first + 1}\tput\tcolor\tgreen\t(was blue)",
        f"{first + 2}\tput\towner\tme and you",
        f"{first + 3}\tput\tleased\tv",
    ]
    kv("compact", str(first + 2))
    kv("get", "color", "--revision", str(first), code=7)
    kv("watch", "color", "--from", "1", code=7)

    watching = kv.start("watch", "--prefix", "w/", "-o", "json")
    assert watching.stderr is not None
    assert watching.stdout is not None
    assert "watching from revision" in watching.stderr.readline()
    cluster.kill(cluster.leader() or "n1")
    kv("put", "w/1", "x")
    event = json.loads(watching.stdout.readline())
    assert (event["event"], event["key"], event["value_base64"]) == ("put", "w/1", "eA==")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 130
    watching.communicate()


def test_lock_and_elect(kv_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch, capfdbinary: Captured) -> None:
    kv = Kv(kv_cluster(1).topology.endpoints, monkeypatch, capfdbinary)
    script = "import os, sys; print(os.environ['KV_LOCK_TOKEN'], os.environ['KV_LOCK_KEY']); sys.exit(7)"
    token, key = kv("lock", "l", "--", sys.executable, "-c", script, code=7).split()
    assert int(token) > 0
    assert key.startswith("l/")
    kv("lock", "l", code=2)
    kv("lock", "l", "--", "/nonexistent/program", code=127)  # as in a shell: not the program's own failure
    kv("lock", "l", "--", "/", code=126)

    holding = kv.start("lock", "l", "--ttl", "2", "--", "sh", "-c", "echo held; exec sleep 600")
    assert holding.stdout is not None
    assert holding.stdout.readline() == "held\n"
    kv("lock", "l", "--wait", "0.2", "--", "true", code=4)
    holder = f"held by pid {holding.pid} on {socket.gethostname()} (token "
    assert f"the lock is {holder}" in kv.said[-1].decode()
    waiting = kv.start("lock", "l", "--", "echo", "mine")
    assert waiting.stderr is not None
    assert holder in waiting.stderr.readline()
    waiting.terminate()
    waiting.communicate(timeout=20)
    (lease,) = kv("lease", "list").split()
    kv("lease", "revoke", lease)
    _, said = holding.communicate(timeout=30)
    assert holding.returncode == 5
    assert "the lock is lost" in said

    script = "trap 'echo ended; exit 9' TERM; echo held; while :; do sleep 0.05; done"
    holding = kv.start("lock", "l", "--ttl", "60", "--", "sh", "-c", script)
    assert holding.stdout is not None
    assert holding.stdout.readline() == "held\n"
    holding.terminate()
    told, _ = holding.communicate(timeout=20)
    assert (holding.returncode, told) == (9, "ended\n")  # the command was asked to end, and had the last word
    kv("lock", "l", "--wait", "5", "--", "true")  # given back, though the lease would have had a minute to live

    leading = kv.start("elect", "e", "me")
    assert leading.stdout is not None
    assert leading.stdout.readline().endswith("\tme\n")
    listening = kv.start("elect", "e", "--listen")
    assert listening.stdout is not None
    assert listening.stdout.readline().endswith("\tme\n")
    leading.send_signal(signal.SIGTERM)
    assert leading.wait(20) == 130
    assert listening.stdout.readline() == "nobody leads\n"
    listening.send_signal(signal.SIGINT)
    assert listening.wait(20) == 130
    for each in (leading, listening):
        each.communicate()
    assert kv("elect", "e", "other", "--", "sh", "-c", "exit 3", code=3) == ""

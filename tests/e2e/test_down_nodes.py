"""What the command line says while nodes of a real cluster are down, and what the doctor finds in one."""

from pathlib import Path

import pytest

from kvcli.exit_codes import Exit
from kvcli.main import run
from kvcluster.pytest_plugin import ClusterFactory

pytestmark = pytest.mark.long


def test_who_is_down_is_told_with_a_refusal(
    kv_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = kv_cluster(3)
    monkeypatch.setenv("KV_ENDPOINTS", ",".join(cluster.endpoints))
    cluster.kill("n2")
    cluster.kill("n3")
    assert run(["put", "k", "v", "--timeout", "3"]) in (Exit.REFUSED, Exit.UNKNOWN)
    said = capfd.readouterr().err
    assert "no leader: 2 of 3 nodes are down: n2, n3 (as n1 sees it)" in said
    assert "start 1 of them again: 2 of 3 voters must run" in said
    assert run(["doctor"]) == Exit.REFUSED
    told = capfd.readouterr().out
    assert "PROBLEM: n1 cannot reach n2" in told
    assert "1 of 3 voters are reachable, 2 are needed" in told
    assert run(["put", "k", "v", "--level", "one"]) == Exit.OK
    capfd.readouterr()
    assert run(["doctor"]) == Exit.REFUSED
    assert "n1 has 1 writes at level one that it has not handed over" in capfd.readouterr().out

    cluster.kill("n1")
    assert run(["get", "k", "--timeout", "1"]) == Exit.CANNOT_CONNECT
    said = capfd.readouterr().err
    assert all(endpoint in said for endpoint in cluster.endpoints)
    assert "kv serve" in said
    assert run(["top", "--once"]) == Exit.CANNOT_CONNECT


def test_the_doctor_sees_every_node_from_one_endpoint(
    kv_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = kv_cluster(2, tls=True)
    monkeypatch.setenv("KV_ENDPOINTS", cluster.endpoints[0])
    for name, path in cluster.describe()["tls"].items():
        monkeypatch.setenv(f"KV_{name.upper()}", str(Path(path)))
    assert run(["put", "k", "v"]) == Exit.OK
    capfd.readouterr()
    assert run(["doctor", "--all"]) == Exit.OK
    told = capfd.readouterr().out
    assert "advice: 2 voters survive no failures" in told
    assert "advice: one more failure, and writes are refused" in told
    lines = {line.split()[1]: line for line in told.splitlines() if line.startswith(("ok", "warn", "skipped"))}
    assert lines["certificates"].startswith("ok")
    assert all(name in lines[check] for name in ("n1", "n2") for check in ("disk", "clocks", "files", "certificates"))
    assert not [line for line in lines.values() if line.startswith("skipped")]

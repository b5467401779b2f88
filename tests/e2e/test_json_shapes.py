"""What `-o json` gives is what docs/cli.md says: every command that prints JSON, run against a real node."""

import io
import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kvcli import main
from kvcli.shapes import ELSEWHERE, SHAPES
from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.topology import HOST, free_ports
from tests.support.shapes import shape_of


class Ran(NamedTuple):
    """What a command printed: each line, read."""

    documents: list[Any]

    @property
    def one(self) -> Any:
        (document,) = self.documents
        return document


class Kv:
    """`kv` with `-o json`, in this process; `shapes` has those that were seen, by command."""

    def __init__(self, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self._patch = patch
        self.shapes: dict[str, str] = {}

    def __call__(self, line: str, *, path: str | None = None, stdin: str = "") -> Ran:
        self._capture.readouterr()
        self._patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        words = shlex.split(line)
        code = main.run([*words, "-o", "json"])
        printed = self._capture.readouterr()
        assert code == 0, (line, code, printed.err)
        documents = [json.loads(text) for text in printed.out.splitlines()]
        named = path or next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in SHAPES)
        self.shapes[named] = " or ".join(dict.fromkeys(shape_of(each) for each in documents))
        return Ran(documents)


def test_every_document_has_the_members_that_are_told(
    kv_cluster: ClusterFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    cluster = kv_cluster(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KV_ENDPOINTS", ",".join(cluster.endpoints))
    monkeypatch.setenv("KV_NEW_PASSWORD", "long enough")
    kv = Kv(capfdbinary, monkeypatch)

    kv("put a 1")
    kv("get a")
    kv("get '' --prefix", path="get --prefix")
    kv("delete a")
    kv("delete --prefix a", path="delete --prefix")
    kv("watch a --from 1 --limit 2")
    receipt = kv("put b 2 --level one", path="put --level one").one["receipt"]
    kv(f"receipt {receipt} --wait")
    Path("data").write_text('{"key":"c","value":"3"}\n')
    kv("import data")
    lease = kv("lease grant 30").one["id"]
    kv("lease list")
    kv(f"lease show {lease}")
    kv(f"lease keep-alive {lease} --once")
    kv(f"lease revoke {lease}")
    kv("compact 2")
    kv("status")
    kv("member list")
    kv(f"member add n2 {HOST}:{free_ports(1)[0]}")
    kv("member remove n2 --force")
    kv("settings list")
    kv("settings set leases_max 5000")
    kv("snapshot save backup")
    kv("snapshot verify backup")
    kv(f"snapshot restore backup --name r1 --data-dir {tmp_path / 'restored'}")
    kv("doctor")
    frame = kv("top --count 1 --interval 0.2").one
    assert set(frame["loads"][0] if frame["loads"] else ()) <= {"kind", "level", "outcome", "hz", "p50_s", "p99_s"}
    kv("auth status")
    kv("role add r")
    kv("role grant r read --prefix a")
    kv("role list")
    kv("role show r")
    kv("role revoke r read --prefix a")
    kv("user add u")
    kv("user list")
    monkeypatch.setenv("KV_PASSWORD", "long enough")
    kv("user grant u r")
    kv("user revoke u r")
    kv("user passwd u")
    kv("user delete u")
    kv("auth enable")
    monkeypatch.setenv("KV_TOKEN", kv("token --user root").one["token"])
    kv("auth rotate")
    kv("auth disable")
    kv("txn", stdin='exists("b")\n\nget b\nget c --prefix\nput d 3\ndel z\n\n')
    kv("role delete r")
    kv("cert ca")
    kv("cert node n1")
    kv("cert client alice")
    kv("odds --nodes 3")
    kv(f"cluster env --dir {cluster.topology.directory}")
    kv(f"cluster status --dir {cluster.topology.directory}")
    kv(f"cluster pause n1 --dir {cluster.topology.directory}")
    kv(f"cluster resume n1 --dir {cluster.topology.directory}")
    kv("bench put --count 5 --keys 2 --warmup 0")

    # Nothing asked for anything between the two rounds of `kv top`.
    kv.shapes["top"] = kv.shapes["top"].replace("loads: []", "loads: [{kind, level, outcome, hz, p50_s, p99_s}]")
    kv.shapes["top"] = kv.shapes["top"].replace("statuses: {}", "statuses")
    assert kv.shapes == {path: shape for path, shape in SHAPES.items() if path not in ELSEWHERE}

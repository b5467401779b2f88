"""Nothing that is secret is ever shown: planted ones are looked for in all that a run of the harness writes and says,
in the files of nodes that encrypt, in the names of backups, and in the arguments of processes.
"""

import base64
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvjepsen import access
from kvjepsen.access import Access
from kvjepsen.plan import Plan
from kvjepsen.runners import live
from kvstore.client import Client
from tests.e2e.test_auth import spellings
from tests.support.vaults import line

pytestmark = pytest.mark.long

MARKER = "MARKER-9b1f77aa"
KEY = MARKER.encode().ljust(32, b"k")
LOOK_S = 0.2


class Looking(threading.Thread):
    """The arguments of every process of this machine, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.seen: set[bytes] = set()

    def run(self) -> None:
        while not self.stop.wait(LOOK_S):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue


def test_a_sealed_run_of_the_harness_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    given: list[Access] = []

    def closing(cluster: Cluster) -> Access:
        given.append(access.close_doors(cluster))
        return given[0]

    planted = SimpleNamespace(token_hex=lambda _size: MARKER, token_bytes=lambda _size: KEY)
    monkeypatch.setattr(access, "secrets", planted)
    monkeypatch.setattr(live, "close_doors", closing)
    monkeypatch.setattr(live, "purge", lambda cluster: None)
    looking = Looking()
    looking.start()
    plan = Plan(
        nodes=3,
        workloads=("register", "mixed"),
        faults=("kill-leader",),
        seconds=12,
        seed=3,
        doors=("http", "redis"),
        sealed=True,
    )
    out = tmp_path / "out"
    told = live.run(plan, out, say=print, watch=print)
    looking.stop.set()
    looking.join()
    said = capfdbinary.readouterr()
    assert (told.verdict, told.document["problem"]) == ("passed", None)

    token = given[0].token
    assert token is not None
    secrets = [MARKER.encode(), token.encode(), token.rpartition(".")[2].encode(), *spellings(KEY)]
    assert not [each for each in secrets if each in repr((given[0], plan, told)).encode()]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {"history.jsonl", "results.json", "report.html", "log"} <= {path.name for path in files}
    journals = [path for path in files if path.suffix in (".seg", ".snap")]
    assert len(journals) > 3
    for path in files:
        found = path.read_bytes()
        assert not [each for each in secrets if each in found], path
        assert not [each for each in secrets if each.decode(errors="replace") in path.name]
    for path in journals:
        assert b"register/" not in path.read_bytes(), f"{path} can be read"
    for each in (said.out, said.err, *looking.seen):
        assert not [secret for secret in secrets if secret in each]
    served = [each for each in looking.seen if b"serve" in each and str(out).encode() in each]
    assert len(served) >= 3, "the nodes were looked at"


def test_backups_and_their_names_show_nothing_where_files_are_encrypted(
    kv_cluster: ClusterFactory, tmp_path: Path
) -> None:
    keys, backups = tmp_path / "keys", tmp_path / "backups"
    keys.write_text(line(1))
    keys.chmod(0o600)
    backups.mkdir()
    env = {"KV_ENCRYPTION_KEY_FILE": str(keys), "KV_BACKUP_DIR": str(backups), "KV_BACKUP_EVERY_S": "1"}
    cluster = kv_cluster(3, env=env)
    with Client(cluster.endpoints, timeout_s=30.0) as client:
        client.put(f"{MARKER}-key".encode(), MARKER.encode(), level="all")
        client.enable_auth(MARKER)
    ready = threading.Event()
    for _ in range(300):
        if len(list(backups.glob("*.kvsnap"))) >= 3 or ready.wait(0.1):  # nothing tells that one is there
            break
    made = [path for path in backups.rglob("*") if path.is_file()]
    assert len(made) >= 3
    secret = line(1).split()[1]
    for path in made:
        found = path.read_bytes()
        for each in (MARKER.encode(), secret.encode(), base64.b64decode(secret)):
            assert each not in found, path
        assert MARKER not in path.name
    saved = subprocess.run(
        [
            sys.executable,
            "-m",
            "kvcli",
            "snapshot",
            "save",
            str(tmp_path / "saved"),
            "--endpoints",
            cluster.endpoints[0],
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert saved.returncode != 0, "a backup is for who may have it"
    assert MARKER not in saved.stdout + saved.stderr

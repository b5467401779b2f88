"""The published engine behind the API: what its state machine does, and where its process may listen."""

import subprocess
import sys
from pathlib import Path

import pytest

# The engine must not be loaded beside the adapter, which changes it: all of it happens in a process of its own.
MACHINE = """
import sys
from kvjepsen.stock_server import Store
assert not [name for name in sys.modules if name.startswith("kvstore.consensus")]
store = Store.__new__(Store)
store.data, store.revision, store.answers = {}, 0, {}
change = lambda *given: Store._change(store, *given)
assert change(b"a", b"1", None) == ("done", 1, 1)
assert change(b"a", b"2", 0) == ("unmet", 0, 0)
assert change(b"a", b"2", 1) == ("done", 2, 2)
assert change(b"b", None, None) == ("absent", 0, 0)
assert change(b"b", b"3", 0) == ("done", 3, 1)
assert store.here(b"a", False) == (3, [(b"a", (b"2", 1, 2, 2))])
assert store.here(b"", True)[1] == [(b"a", (b"2", 1, 2, 2)), (b"b", (b"3", 3, 3, 1))]
assert change(b"a", None, 2) == ("done", 4, 2)
assert store.here(b"a", False) == (4, [])
"""


def test_its_state_machine_has_revisions_conditions_and_deletions() -> None:
    ended = subprocess.run([sys.executable, "-c", MACHINE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("option", ["--listen", "--listen-peer"])
def test_it_listens_on_loopback_only_as_it_runs_what_it_is_sent(option: str, tmp_path: Path) -> None:
    addresses = {"--listen": "127.0.0.1:1", "--listen-peer": "127.0.0.1:2", option: "0.0.0.0:3"}
    command = [sys.executable, "-m", "kvjepsen.stock_server", "serve", "--name", "n1", "--data-dir", str(tmp_path)]
    for name, address in addresses.items():
        command += [name, address]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "127.0.0.1 only" in ended.stderr

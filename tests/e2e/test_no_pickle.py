"""A live cluster in which nothing can be unpickled: every way to do it is an error in every node."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST, free_ports
from kvstore.client import AsyncClient
from kvstore.limits import SEGMENT_BYTES, VALUE_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0

# Run by Python itself at the start of every process that has it on its path. Each process leaves a file that says that
# the trap was set, and one that says what fell into it.
TRAP = """
import _pickle
import os
import pickle
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))


def refuse(*_, **__):
    with open(os.path.join(HERE, f"used-{os.getpid()}"), "a") as file:
        traceback.print_stack(file=file)
    raise AssertionError("something is unpickled")


class Refusing:
    def __init__(self, *_, **__):
        refuse()


import pysyncobj.journal
import pysyncobj.pickle

pickle._Unpickler.load = refuse
for module in (pickle, _pickle):
    module.load = module.loads = refuse
    module.Unpickler = Refusing
pickle._load = pickle._loads = refuse
pysyncobj.pickle.load = pysyncobj.pickle.loads = pysyncobj.journal.loads = refuse
open(os.path.join(HERE, f"set-{os.getpid()}"), "w").close()
"""


def set_trap(directory: Path) -> dict[str, str]:
    """Settings of the nodes with the trap in `directory`, and so little log that segments are cut."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(TRAP)
    roots = [directory, *(ROOT / folder for folder in (".", "cli", "cluster", "jepsen-like"))]
    return {
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
        "KV_SNAPSHOT_LOG_BYTES": str(4 << 20),
        "KV_LOG_KEEP_BYTES": "0",
    }


@pytest.mark.parametrize(
    "unpickling",
    [
        "import pickle; pickle.loads(data)",
        "import pickle; pickle.load(file)",
        "import pickle; pickle.Unpickler(file).load()",
        "import pickle; pickle._Unpickler(file).load()",
        "from _pickle import loads; loads(data)",
        "from pysyncobj.pickle import loads; loads(data)",
        "from pysyncobj.journal import loads; loads(data)",
        "from pysyncobj.serializer import pickle; pickle.load(file)",
    ],
)
def test_the_trap_catches(tmp_path: Path, unpickling: str) -> None:
    environment = os.environ | set_trap(tmp_path / "trap")
    program = f"import io; data = b'I1\\n.'; file = io.BytesIO(data); {unpickling}; print('unpickled')"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert "something is unpickled" in ended.stderr
    assert ended.stdout == ""
    assert len(list((tmp_path / "trap").glob("used-*"))) == 1


async def first_segment_is_gone(cluster: Cluster, name: str) -> None:
    """Wait until the log of `name` begins behind its first segment, so that only a snapshot leads to it."""
    journal = cluster.topology.data_dir(name) / "journal"
    deadline = time.monotonic() + PATIENCE_S
    while "0000000000000001.seg" in {path.name for path in journal.glob("*.seg")}:
        assert time.monotonic() < deadline, sorted(path.name for path in journal.iterdir())
        await asyncio.sleep(0.05)


async def test_writes_a_membership_change_a_snapshot_install_and_a_restart(
    kv_cluster: ClusterFactory, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    cluster = kv_cluster(3, env=set_trap(trap))
    leader = cluster.leader()
    assert leader is not None
    lagging, other = (name for name in cluster.topology.names if name != leader)
    pids = {process.pid for name in cluster.topology.names if (process := cluster.process(name)) is not None}
    staying = [cluster.topology.node(name).http for name in (leader, other)]
    async with AsyncClient(staying, timeout_s=20) as client:
        await client.put(b"first", b"1", level="all")
        await client.add_member("n4", f"{HOST}:{free_ports(1)[0]}")
        await client.remove_member("n4")
        assert cluster.kill(lagging)
        for number in range(2 * SEGMENT_BYTES // VALUE_BYTES_MAX + 4):
            await client.put(b"large-%d" % (number % 4), bytes(VALUE_BYTES_MAX))
        for name in (leader, other):
            await first_segment_is_gone(cluster, name)
        cluster.restart(lagging)
        await client.put(b"last", b"2", level="all")
        assert list((cluster.topology.data_dir(lagging) / "snapshots").glob("*.snap"))
    for name in cluster.topology.names:
        cluster.restart(name)
        pids |= {process.pid for name in cluster.topology.names if (process := cluster.process(name)) is not None}
    for node in cluster.topology.nodes:
        async with AsyncClient([node.http], timeout_s=20) as client:
            assert await client.get_value(b"first") == b"1"
            assert await client.get_value(b"last") == b"2"
            assert await client.get_value(b"large-3") == bytes(VALUE_BYTES_MAX)
    assert {int(path.name.removeprefix("set-")) for path in trap.glob("set-*")} >= pids, "a node had no trap"
    assert [path.read_text() for path in trap.glob("used-*")] == []

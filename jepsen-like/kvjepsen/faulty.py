"""`kv`, with faults that cannot be brought about from outside: `python -m kvjepsen.faulty serve ...` for a node.

It works as it should until it is given an order: a file `order.json` in the node's working directory, and SIGUSR1. It
answers by `done.json` with the number of the order.

    {"number": 1, "slow_sync_ms": [50, 200]}    every fdatasync takes so much longer, at random; [0, 0] ends it
    {"number": 2, "alter": "key"}               one bit of the value held in memory under that key is flipped

`order` gives one to a node of a cluster that was started with `program=PROGRAM`.
"""

import json
import os
import random
import runpy
import signal
import time
from typing import Any, Final

from kvcluster import processes
from kvcluster.supervisor import PROGRAM as KV
from kvcluster.supervisor import Cluster, NotReady
from kvcluster.topology import write_atomically
from kvstore.consensus.disk import OsFile
from kvstore.node.service import Node

PROGRAM: Final = "kvjepsen.faulty"

_ORDER: Final = "order.json"
_DONE: Final = "done.json"
_ANSWER_S_MAX: Final = 10.0
_POLL_S: Final = 0.01


def order(cluster: Cluster, name: str, **what: Any) -> None:
    """Have the node `name` do it; returns when it has. Raises NotReady."""
    home = cluster.topology.home(name)
    number = time.monotonic_ns()
    write_atomically(home / _ORDER, json.dumps({"number": number, **what}))
    process = cluster.process(name)
    if process is None or not processes.send(process, signal.SIGUSR1):
        raise NotReady(f"{name} does not run")
    deadline = time.monotonic() + _ANSWER_S_MAX
    while not (home / _DONE).exists() or json.loads((home / _DONE).read_text()) != number:
        if time.monotonic() >= deadline:
            raise NotReady(f"{name} did not obey: {what}. Its log ends:\n{cluster.log_tail(name)}")
        time.sleep(_POLL_S)


class _Faults:
    """What is wrong with this process. `nodes` are all that it has made: one."""

    def __init__(self) -> None:
        self.slow_sync_ms = (0.0, 0.0)
        self.nodes: list[Node] = []

    def sync(self) -> None:
        if self.slow_sync_ms[1]:
            time.sleep(random.uniform(*self.slow_sync_ms) / 1_000)

    def obey(self, _signal: int, _frame: object) -> None:
        with open(_ORDER) as file:
            wanted = json.load(file)
        if "slow_sync_ms" in wanted:
            self.slow_sync_ms = tuple(wanted["slow_sync_ms"])
        if "alter" in wanted:
            self._alter(wanted["alter"].encode())
        with open(_DONE + ".tmp", "w") as file:
            json.dump(wanted["number"], file)
        os.replace(_DONE + ".tmp", _DONE)

    def _alter(self, key: bytes) -> None:
        """As a fault of memory would: neither the record's hash nor the digest of the whole knows of it."""
        records = self.nodes[-1].machine._contents.records
        record = records.get(key)
        assert record is not None, "there is no such key to alter"
        value = bytes([record[0][0] ^ 1]) + record[0][1:]
        records.put(key, (value, *record[1:]))


def main() -> None:
    """`kv`, ready to be given orders."""
    faults = _Faults()

    whole_start, plain_sync = Node.start, OsFile.sync

    def start(node: Node, *arguments: Any) -> None:
        faults.nodes.append(node)
        whole_start(node, *arguments)

    def sync(file: OsFile) -> None:
        faults.sync()
        plain_sync(file)

    setattr(Node, "start", start)  # noqa: B010 - what is replaced here is not meant to be
    setattr(OsFile, "sync", sync)  # noqa: B010
    signal.signal(signal.SIGUSR1, faults.obey)
    runpy.run_module(KV, run_name="__main__")


if __name__ == "__main__":
    main()

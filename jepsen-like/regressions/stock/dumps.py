"""How a dump of the state is made, and what becomes of one that is damaged."""

import os
import sys
import threading
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.monotonic import monotonic  # type: ignore[import-untyped]
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from regressions.stock.bench import Bench, verdict

directory = sys.argv[1]
calls: list[str] = []
threads_at_fork: list[int] = []


def spied(name: str, note: Any) -> None:
    real = getattr(os, name)

    def call(*arguments: Any) -> Any:
        note()
        return real(*arguments)

    setattr(os, name, call)


class Counter(SyncObj):
    def __init__(self, conf: SyncObjConf) -> None:
        super().__init__(Node("alone"), [], conf, transport=Transport(None, None, []))
        self.count = 0

    @replicated
    def add(self) -> None:
        self.count += 1


def fork_in_default_configuration() -> None:
    """A node as the manual shows it: the engine's own thread, and fork left on."""
    counter = Counter(SyncObjConf(fullDumpFile=os.path.join(directory, "alone.fullDump")))
    deadline = time.monotonic() + 10.0
    while not counter.isReady() and time.monotonic() < deadline:
        time.sleep(0.01)
    counter.add(sync=True, timeout=5.0)
    counter.forceLogCompaction()
    while not threads_at_fork and time.monotonic() < deadline:
        time.sleep(0.01)
    counter.destroy_synchronous()  # type: ignore[attr-defined]


def damaged() -> dict[str, Any]:
    """The only copy of acknowledged writes, once the log is cut, is a dump; one byte of it changes."""
    bench = Bench("a", directory=directory)
    node = bench.nodes["a"]
    answers = [node.write(f"k{number}") for number in range(10)]
    bench.advance(2.0)
    node.forceLogCompaction()
    spied("fsync", lambda: calls.append("fsync"))
    spied("fdatasync", lambda: calls.append("fdatasync"))
    bench.advance(1.0)
    path = os.path.join(directory, "a.fullDump")
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(size // 2)
        byte = file.read(1)[0]
        file.seek(size // 2)
        file.write(bytes((byte ^ 0x10,)))
    again = bench.start("a")
    bench.advance(2.0)
    return {
        "acknowledged": sum(answer == [0] for answer in answers),
        "synced": calls,
        "starts_and_leads": again.leads,
        "keys_after_restart": len(again.data),
    }


spied("fork", lambda: threads_at_fork.append(threading.active_count()))
syncobj.monotonicTime = monotonic
fork_in_default_configuration()
verdict(threads_at_fork=threads_at_fork[:1], **damaged())

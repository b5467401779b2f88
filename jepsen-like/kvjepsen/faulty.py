"""`kv`, with faults that cannot be brought about from outside: `python -m kvjepsen.faulty serve ...` for a node.

It works as it should until it is given an order: a file `order.json` in the node's working directory, and SIGUSR1. It
answers by `done.json` with the number of the order.

    {"number": 1, "slow_sync_ms": [50, 200]}    every fdatasync takes so much longer, at random; [0, 0] ends it
    {"number": 2, "alter": "key"}               one bit of the value held in memory under that key is flipped
    {"number": 3, "clock": [2500, 1.02]}        the wall clock is so many ms ahead, and runs so much too fast
    {"number": 4, "full": true}                 the disk has no room: what would need some fails with ENOSPC
    {"number": 5, "descriptors": 3}             so many more file descriptors may be opened; null: no bound
    {"number": 6, "entries": [["n2"], 17]}      as a leader it sends entries to these only, none above that index;
                                                null: no bound; heartbeats go on; null ends it

The clock is moved here, where the node reads it, and not by libfaketime: under that (0.9.10) `time.sleep` of Python
3.11 fails with EINVAL. Monotonic time is left alone.

`order` gives one to a node of a cluster that was started with `program=PROGRAM`. With KV_HELD_DISK in its environment
the node loses what it has not synced when it ends (kvjepsen.held_disk).
"""

import errno
import json
import os
import random
import resource
import runpy
import signal
import time
from typing import Any, Final

from kvcluster import processes
from kvcluster.supervisor import PROGRAM as KV
from kvcluster.supervisor import Cluster, NotReady
from kvcluster.topology import write_atomically
from kvjepsen import held_disk
from kvstore.clock import SystemClock
from kvstore.consensus.disk import OsDisk, OsFile
from kvstore.consensus.leading import Leadership
from kvstore.node.service import Node

PROGRAM: Final = "kvjepsen.faulty"

_ORDER: Final = "order.json"
_DONE: Final = "done.json"
_ANSWER_S_MAX: Final = 10.0
_POLL_S: Final = 0.01
_PLAIN_SEND: Final = Leadership._send_entries


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
        self.full = False
        self.nodes: list[Node] = []
        self.entries: tuple[list[str], int | None] | None = None
        self._clock = (0.0, 1.0, time.monotonic())
        self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)

    def sync(self) -> None:
        if self.slow_sync_ms[1]:
            time.sleep(random.uniform(*self.slow_sync_ms) / 1_000)

    def obey(self, _signal: int, _frame: object) -> None:
        with open(_ORDER) as file:
            wanted = json.load(file)
        if "slow_sync_ms" in wanted:
            self.slow_sync_ms = tuple(wanted["slow_sync_ms"])
        if "clock" in wanted:
            self._clock = (*wanted["clock"], time.monotonic())
        if "full" in wanted:
            self.full = wanted["full"]
        if "descriptors" in wanted:
            self._bound_descriptors(wanted["descriptors"])
        if "entries" in wanted:
            self.entries = wanted["entries"]
        if "alter" in wanted:
            self._alter(wanted["alter"].encode())
        with open(_DONE + ".tmp", "w") as file:
            json.dump(wanted["number"], file)
        os.replace(_DONE + ".tmp", _DONE)

    def wall_ms(self, right_ms: int) -> int:
        offset_ms, rate, since = self._clock
        return right_ms + round(offset_ms + (rate - 1) * (time.monotonic() - since) * 1_000)

    def room(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def send_entries(self, leadership: Leadership, peer: str, progress: Any, due: bool) -> bool:
        """In the place of Leadership._send_entries: one message, of what the order lets pass."""
        if self.entries is None:
            return _PLAIN_SEND(leadership, peer, progress, due)
        names, upto = self.entries
        core, log = leadership._context.core, leadership._context.journal.entries
        following = core.next_index(peer)
        stop = None if upto is None else max(0, upto + 1 - log[0][1])
        entries = [(term, command) for command, _, term in log[following - log[0][1] : stop]]
        if peer not in names or not entries:
            return False
        leadership._send_append(peer, entries)
        progress.sent(leadership._seq, sum(len(command) for _, command in entries))
        core.set_next_index(peer, following + len(entries))
        return True

    def _bound_descriptors(self, more: int | None) -> None:
        soft, hard = self._descriptors
        if more is not None:
            soft = min(soft, max(int(name) for name in os.listdir("/proc/self/fd")) + 1 + more)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def _alter(self, key: bytes) -> None:
        """As a fault of memory would: neither the record's hash nor the digest of the whole knows of it."""
        records = self.nodes[-1].machine._contents.records
        record = records.get(key)
        assert record is not None, "there is no such key to alter"
        value = bytes([record[0][0] ^ 1]) + record[0][1:]
        records.put(key, (value, *record[1:]))


def main() -> None:
    """`kv`, ready to be given orders."""
    held_disk.install_if_wanted()
    faults = _Faults()

    whole_start, plain_sync, plain_allocate = Node.start, OsFile.sync, OsFile.allocate
    plain_free, plain_wall = OsDisk.free_bytes, SystemClock.wall_ms

    def start(node: Node, *arguments: Any) -> None:
        faults.nodes.append(node)
        whole_start(node, *arguments)

    def sync(file: OsFile) -> None:
        faults.sync()
        plain_sync(file)

    def allocate(file: OsFile, size: int) -> None:
        if size > file.size():
            faults.room()
        plain_allocate(file, size)

    def free_bytes(disk: OsDisk, directory: str) -> int:
        return 0 if faults.full else plain_free(disk, directory)

    def wall_ms(clock: SystemClock) -> int:
        return faults.wall_ms(plain_wall(clock))

    def _send_entries(leadership: Leadership, peer: str, progress: Any, due: bool) -> bool:
        return faults.send_entries(leadership, peer, progress, due)

    for owner, replaced in (
        (Leadership, _send_entries),
        (Node, start),
        (OsFile, sync),
        (OsFile, allocate),
        (OsDisk, free_bytes),
        (SystemClock, wall_ms),
    ):
        setattr(owner, replaced.__name__, replaced)
    signal.signal(signal.SIGUSR1, faults.obey)
    runpy.run_module(KV, run_name="__main__")


if __name__ == "__main__":
    main()

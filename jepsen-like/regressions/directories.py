"""A data directory of this store with writes in its log and a snapshot of some of them, on a disk that can crash."""

import random

from kvstore.consensus.snapshots import SnapshotInfo
from kvstore.model import commands
from kvstore.model.stamp import Stamp
from kvstore.node.boot import Bootstrap, Opened, open_directory
from tests.support.crash_disk import CrashDisk

SEGMENT_BYTES = 16 << 10


def opened(disk: CrashDisk) -> Opened:
    """Recover the directory of node a, which works alone, as a start of the server does."""
    alone = Bootstrap("a", {"a": "a:1"}, "")
    return open_directory(disk, "data", alone, random.Random(1), segment_bytes=SEGMENT_BYTES)


def write(node: Opened, last: int, value: bytes = b"v") -> None:
    """Append, commit and sync entries up to index `last`: each puts a key of its own."""
    for index in range(node.journal.entries[-1][1] + 1, last + 1):
        command = commands.encode([commands.put(b"k%d" % index, value)], Stamp(index, 0, "a", 0))
        node.journal.append(b"\0" + command, index, 1)
        node.journal.set_commit(index)
        node.journal.sync()


def apply(node: Opened, last: int) -> None:
    """Apply the log up to index `last`."""
    for command, index, term in node.journal.entries:
        if node.machine.applied_index < index <= last:
            node.machine.apply(index, term, commands.decode(command[1:]))


def snapshot(node: Opened) -> SnapshotInfo:
    """Take a snapshot of what is applied; the log is left as it is."""
    machine = node.machine
    writer = node.snapshots.writer(machine.applied_index, machine.applied_term, node.journal.configuration)
    for frame in machine.snapshot():
        writer.add(frame)
    return writer.commit()

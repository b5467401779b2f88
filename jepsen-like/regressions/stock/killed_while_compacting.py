"""A node that works alone acknowledges writes, cuts its log behind a dump and is killed while it does that."""

import sys
from pathlib import Path
from typing import Any

import pysyncobj.journal

from regressions.stock.bench import Bench, Killed, verdict

journal: Any = pysyncobj.journal

write = journal.ResizableFile.write
cut = journal.FileJournal.deleteEntriesTo


def run(directory: Path, writes_before_kill: int) -> dict[str, Any]:
    """What was acknowledged, what is there after the restart, and whether the process was killed at all."""
    directory.mkdir()
    left = [writes_before_kill]

    def killing_write(self: Any, offset: int, values: bytes) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(self, offset, values)

    def killing_cut(self: Any, entries: int) -> None:
        journal.ResizableFile.write = killing_write
        cut(self, entries)

    bench = Bench("a", directory=str(directory))
    node = bench.nodes["a"]
    answers = [node.write(f"dumped-{number}") for number in range(5)]
    bench.advance(2.0)
    answers += [node.write(f"later-{number}") for number in range(5)]
    node.forceLogCompaction()
    journal.FileJournal.deleteEntriesTo = killing_cut
    try:
        bench.advance(1.0)
        killed = False
    except Killed:
        killed = True
    journal.FileJournal.deleteEntriesTo = cut
    journal.ResizableFile.write = write
    again = bench.start("a")
    bench.advance(2.0)
    acknowledged = sum(answer == [0] for answer in answers)
    return {"killed": killed, "acknowledged": acknowledged, "lost": acknowledged - len(again.data)}


runs: list[dict[str, Any]] = []
while not runs or runs[-1]["killed"]:
    runs.append(run(Path(sys.argv[1]) / str(len(runs)), len(runs)))
verdict(runs=runs)

"""A node acknowledges writes, is killed after a dump of older ones got its name and before the log is cut."""

import sys
from typing import Any

import pysyncobj.journal

from regressions.stock.bench import Bench, Killed, verdict

journal: Any = pysyncobj.journal


def killed(self: Any, entries: int) -> None:
    raise Killed


bench = Bench("a", directory=sys.argv[1])
node = bench.nodes["a"]
answers = [node.write(f"dumped-{number}") for number in range(5)]
bench.advance(2.0)
answers += [node.write(f"later-{number}") for number in range(5)]
node.forceLogCompaction()
cut, journal.FileJournal.deleteEntriesTo = journal.FileJournal.deleteEntriesTo, killed
try:
    bench.advance(1.0)
except Killed:
    at_the_kill = node.last()
journal.FileJournal.deleteEntriesTo = cut
again = bench.start("a")
in_the_journal = again.last()
bench.tick()
acknowledged = sum(answer == [0] for answer in answers)
verdict(
    acknowledged=acknowledged,
    last_index_when_killed=at_the_kill,
    last_index_in_the_journal=in_the_journal,
    last_index_after_the_first_tick=again.last(),
    lost=acknowledged - len(again.data),
)

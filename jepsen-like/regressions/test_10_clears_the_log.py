"""Fact 10: restarted between the renaming of a dump and the cutting of the log, it clears the log.

Engine: `SyncObj.__loadDumpFile` clears the journal unless it begins exactly where the dump ends.
Here: `node.boot._go_on_from` keeps the log's suffix if the log holds the snapshot's last entry.
"""

from pathlib import Path

import pytest

from regressions import directories
from regressions.published import published
from tests.support.crash_disk import KEPT, LOST, CrashDisk, Fate


def test_the_published_engine_loses_what_was_acknowledged_since(tmp_path: Path) -> None:
    found = published("cleared_log", tmp_path)
    assert found["acknowledged"] == 10
    assert found["last_index_in_the_journal"] == found["last_index_when_killed"]
    assert found["last_index_after_the_first_tick"] < found["last_index_in_the_journal"]
    assert found["lost"] == 5


@pytest.mark.parametrize("fate", [LOST, KEPT])
def test_here_everything_is_there(fate: Fate) -> None:
    disk = CrashDisk()
    node = directories.opened(disk)
    directories.write(node, 10)
    directories.apply(node, 7)
    directories.snapshot(node)
    again = directories.opened(disk.after_crash(fate))
    assert again.machine.applied_index == 7
    assert again.journal.entries[-1][1] == 10
    directories.apply(again, 10)
    assert [again.machine.get(b"k%d" % index) is not None for index in range(2, 11)] == [True] * 9

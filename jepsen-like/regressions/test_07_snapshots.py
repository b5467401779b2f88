"""Fact 7: snapshots fork a threaded process, get their name without fsync, and a corrupt one is logged and ignored.

Engine: `serializer.Serializer.serialize` (os.fork, atomicReplace), `SyncObj.__loadDumpFile` (a bare except).
Here: `__tryLogCompaction` and `__loadDumpFile` are replaced; `snapshots.SnapshotWriter.commit` syncs, renames and
syncs the directory; `SnapshotStore.latest` checks every byte and raises CorruptData.
"""

import os

import pytest

from kvstore.errors import CorruptData
from regressions import directories
from regressions.published import published
from tests.support.crash_disk import LOST, CrashDisk


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    answer: dict[str, object] = published("dumps", tmp_path_factory.mktemp("dumps"))
    return answer


def test_the_published_engine_forks_with_threads_and_syncs_nothing(found: dict[str, object]) -> None:
    assert found["threads_at_fork"] == [2]
    assert found["synced"] == []


def test_the_published_engine_starts_empty_on_a_damaged_dump(found: dict[str, object]) -> None:
    assert found["acknowledged"] == 10
    assert found["starts_and_leads"]
    assert found["keys_after_restart"] == 0


class NotedDisk(CrashDisk):
    """Remembers what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def take_step(self, operation: str) -> None:
        self.done.append(operation)
        super().take_step(operation)


def test_here_it_is_synced_before_it_gets_its_name_and_nothing_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a fork"))
    disk = NotedDisk()
    node = directories.opened(disk)
    directories.write(node, 20)
    directories.apply(node, 20)
    disk.done.clear()
    info = directories.snapshot(node)
    assert disk.done[-3:] == ["sync", "rename", "sync_dir"]
    assert disk.done.index("sync") > max(place for place, what in enumerate(disk.done) if what == "pwrite")
    again = directories.opened(disk.after_crash(LOST))
    assert again.snapshots.latest() == info
    assert again.machine.applied_index == 20


def test_here_a_damaged_one_stops_the_start() -> None:
    disk = CrashDisk()
    node = directories.opened(disk)
    directories.write(node, 20)
    directories.apply(node, 20)
    info = directories.snapshot(node)
    for offset in range(0, info.size, 7):
        damaged = disk.copy()
        damaged.flip(info.path, offset)
        with pytest.raises(CorruptData, match=os.path.basename(info.path)):
            directories.opened(damaged)

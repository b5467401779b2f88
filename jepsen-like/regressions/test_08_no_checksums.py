"""Fact 8: no checksums; a full disk ends in SIGBUS, because the journal is a memory map of a sparse file.

Engine: `journal.FileJournal` and `journal.ResizableFile`.
Here: every record of `journal_format` has a CRC32C; `segments.SegmentFiles` allocates room ahead of time, so that
`Journal.sync` raises StorageFull before it writes any of a group.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kvstore.errors import CorruptData
from regressions import directories, published
from tests.support.crash_disk import CrashDisk

TINY_BYTES = 1 << 20


def test_the_published_engine_reads_an_altered_value(tmp_path: Path) -> None:
    found = published.published("no_checksums", tmp_path)
    assert found["acknowledged"]
    assert found["starts_and_leads"]
    assert found["reads"] == "a value that was ccknowledged"


def test_here_an_altered_entry_stops_the_start() -> None:
    disk = CrashDisk()
    node = directories.opened(disk)
    directories.write(node, 10, b"a value that was acknowledged")
    node.journal.close()
    paths = [f"data/journal/{name}" for name in disk.list("data/journal")]
    (path,) = [path for path in paths if b"acknowledged" in disk.read(path)]
    data = disk.read(path)
    place = data.index(b"acknowledged")
    for offset in range(place - 40, place + 12):
        damaged = disk.copy()
        damaged.flip(path, offset, bit=1)
        with pytest.raises(CorruptData, match=os.path.basename(path)):
            directories.opened(damaged)


def on_a_tiny_disk(module: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the module on a file system of its own, which only it sees; skips where that cannot be had."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: a small file system cannot be mounted here")
    mounted = f'mount -t tmpfs -o size={TINY_BYTES} tmpfs "$1" || exit 99; shift; exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", str(directory)]
    root = Path(published.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'jepsen-like'}", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [*command, sys.executable, "-m", module, str(directory)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if ended.returncode == 99 or "unshare failed" in ended.stderr:
        pytest.skip(f"a small file system cannot be mounted here: {ended.stderr.strip()}")
    return ended


def test_the_published_engine_dies_of_a_full_disk(tmp_path: Path) -> None:
    ended = on_a_tiny_disk("regressions.stock.full_disk", tmp_path)
    assert ended.returncode == -signal.SIGBUS, ended.stderr
    assert len(ended.stdout.splitlines()) > 1, "it died before it had acknowledged anything"


def test_here_a_full_disk_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    ended = on_a_tiny_disk("regressions.full_disk", tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["acknowledged"] > 100
    assert found["readable"]
    assert found["last_after_restart"] == found["acknowledged"]
    assert found["term_with_reserve"]

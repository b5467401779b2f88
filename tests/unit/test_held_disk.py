"""A disk that holds back what is not synced: what is seen, and what a killed process leaves behind."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvjepsen import held_disk
from kvstore.consensus.disk import OsDisk, OsFile, write_whole
from kvstore.consensus.journal import Journal
from kvstore.testing.sim_disk import LOST, SimDisk

NAMES = ("a", "b", "c", "d")
PLAIN = {
    (owner, name): getattr(owner, name)
    for owner, names in {
        OsFile: ("pwrite", "pread", "size", "allocate", "truncate", "sync"),
        OsDisk: ("open", "exists", "list", "rename", "remove", "sync_dir"),
    }.items()
    for name in names
}


def another_process() -> None:
    """Nothing is held back: what the process before had not synced is gone."""
    for (owner, name), plain in PLAIN.items():
        setattr(owner, name, plain)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process holds back for the length of one test. What is in the kernel's memory is there: nobody waits."""
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    held_disk.install()
    yield
    another_process()


def left_in(directory: Path) -> dict[str, bytes]:
    """What a process that is killed now leaves behind."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".held-")}


def seen(disk: OsDisk | SimDisk, directory: str) -> dict[str, bytes]:
    files = {}
    for name in disk.list(directory):
        file = disk.open(os.path.join(directory, name))
        files[name] = file.pread(file.size(), 0)
        file.close()
    return files


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("seed", range(15))
def test_it_shows_and_loses_what_the_simulated_disk_does(tmp_path: Path, seed: int) -> None:
    """Random work on both; all that can be seen is the same, and so is what is left when nothing unsynced survives."""
    rng = random.Random(seed)
    disk, model = OsDisk(), SimDisk()
    real, simulated = str(tmp_path), "data"
    model.mkdir(simulated)
    model.sync_dir("")
    for _ in range(80):
        work(rng, disk, real, model, simulated)
        assert seen(disk, real) == seen(model, simulated)
        assert left_in(tmp_path) == seen(model.after_crash(LOST), simulated)


def work(rng: random.Random, disk: OsDisk, real: str, model: SimDisk, simulated: str) -> None:
    """One operation on both."""
    sides = [(disk, real), (model, simulated)]
    there = disk.list(real)
    name, other = rng.choice(NAMES), rng.choice(NAMES)
    kind = rng.choice(("create", "write", "write", "write", "resize", "sync", "sync", "rename", "remove", "sync_dir"))
    data, offset, size = rng.randbytes(rng.randint(1, 700)), rng.randint(0, 900), rng.randint(0, 1_500)
    for side, directory in sides:
        path = os.path.join(directory, name)
        if kind == "sync_dir":
            side.sync_dir(directory)
        elif kind == "create" and name not in there:
            side.open(path, create=True).close()
        elif name not in there:
            continue
        elif kind == "rename":
            if name != other:
                side.rename(path, os.path.join(directory, other))
        elif kind == "remove":
            side.remove(path)
        elif kind != "create":
            file = side.open(path)
            if kind == "write":
                file.pwrite(data, offset)
            elif kind == "resize":
                file.truncate(size)
            else:
                file.sync()
            file.close()


@pytest.mark.usefixtures("held")
def test_a_journal_that_is_killed_holds_what_it_had_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(OsDisk(), str(tmp_path / "journal"))
    journal.set_term(1, "n1")
    first = journal.entries[-1][1] + 1
    journal.append(b"synced", first, 1)
    journal.sync()
    journal.append(b"not synced", first + 1, 1)
    with monkeypatch.context() as skipping:
        skipping.setattr(OsFile, "sync", lambda file: None)  # as the server with the bug `no-fsync` does
        journal.sync()
    write_whole(OsDisk(), str(tmp_path), "whole", [b"in place"])
    OsDisk().open(str(tmp_path / "new"), create=True).close()
    another_process()
    held_disk.install()
    assert OsDisk().list(str(tmp_path)) == ["journal", "whole"]
    found = Journal.open(OsDisk(), str(tmp_path / "journal"))
    assert [command for command, _, _ in found.entries[1:]] == [b"synced"]

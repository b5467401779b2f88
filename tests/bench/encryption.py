"""What encryption at rest costs: the journal and snapshots, with and without, side by side in one process.

    python -m tests.bench.encryption [--directory DIR]

Each round writes the same groups to both journals in turn, so that what the disk does at the time meets both. `group`
is what a sync costs besides its fsync (a journal whose disk does nothing), `synced` is with it.
"""

import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import Disk, OsDisk, OsFile
from kvstore.consensus.journal import Journal
from kvstore.consensus.snapshots import SnapshotStore
from kvstore.vault.cipher import KEY_BYTES
from kvstore.vault.envelope import NO_KEYS, Vault
from kvstore.vault.keys import KeyRing

_FRAME_BYTES: Final = 1 << 20


class _UnsyncedFile(OsFile):
    def sync(self) -> None:
        """Does not wait."""


class _NoSync(OsDisk):
    """Writes without waiting for the disk."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        return _UnsyncedFile(os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0), 0o600))


def _vaults() -> dict[str, Vault]:
    return {"plain": NO_KEYS, "encrypted": Vault(KeyRing(1, {1: random.Random(1).randbytes(KEY_BYTES)}))}


def groups(disk: Disk, directory: Path, rounds: int, entries: int, size: int) -> dict[str, float]:
    """Median seconds that a group of `entries` of `size` bytes takes."""
    journals = {
        name: Journal.open(disk, str(directory / f"{name}-{entries}-{size}"), vault=vault)
        for name, vault in _vaults().items()
    }
    took: dict[str, list[float]] = {name: [] for name in journals}
    command = random.Random(2).randbytes(size)
    for _ in range(rounds):
        for name, journal in journals.items():
            began = time.perf_counter()
            for _ in range(entries):
                journal.append(command, journal.entries[-1][1] + 1, 1)
            journal.sync()
            took[name].append(time.perf_counter() - began)
    for journal in journals.values():
        journal.close()
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def snapshots(directory: Path, frames: int) -> dict[str, tuple[float, float]]:
    """Seconds to write and to check a snapshot of `frames` MiB."""
    found = {}
    text = random.Random(3).randbytes(_FRAME_BYTES // 2) + bytes(_FRAME_BYTES // 2)
    for name, vault in _vaults().items():
        store = SnapshotStore(OsDisk(), str(directory / f"snapshots-{name}"), vault)
        began = time.perf_counter()
        writer = store.writer(1, 1, Configuration(0, ()))
        for _ in range(frames):
            writer.add(text)
        info = writer.commit()
        wrote = time.perf_counter()
        store.check(info.path)
        found[name] = (wrote - began, time.perf_counter() - wrote)
    return found


@click.command()
@click.option("--directory", type=click.Path(file_okay=False), help="On the disk that is to be measured.")
@click.option("--rounds", default=500, show_default=True)
@click.option("--frames", default=128, show_default=True, help="MiB of the snapshot.")
def main(directory: str | None, rounds: int, frames: int) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(dir=directory) as made:
        click.echo("| what | plain | encrypted | more |\n|---|---|---|---|")
        for entries, size in ((1, 200), (64, 200), (1, 64 << 10), (64, 16 << 10)):
            for how, disk in (("group", _NoSync()), ("synced", OsDisk())):
                took = groups(disk, Path(made) / how, rounds, entries, size)
                more = (took["encrypted"] - took["plain"]) * 1e6
                click.echo(
                    f"| {how}: {entries} entries of {size:,} bytes | {took['plain'] * 1e6:.1f} us "
                    f"| {took['encrypted'] * 1e6:.1f} us | {more:+.1f} us |"
                )
        snaps = snapshots(Path(made), frames)
        for place, what in enumerate(("write", "check")):
            plain, encrypted = snaps["plain"][place], snaps["encrypted"][place]
            click.echo(
                f"| {what} a snapshot of {frames} MiB | {plain:.3f} s | {encrypted:.3f} s "
                f"| {encrypted - plain:+.3f} s |"
            )


if __name__ == "__main__":
    main()

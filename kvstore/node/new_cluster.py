"""A new cluster out of what is left of another: of a backup (`restore`), or of one member of a cluster that has lost
its majority for good (`recover`). Both write a new data directory. A backup stays as it was, and the member's directory
as a start would have left it.

The new directory has a snapshot, an identity of its own, and the members of the new cluster; the log goes on behind the
snapshot. Its cluster id is another one, so that nobody of the old cluster is ever taken for a member. What the state
becomes is told by rules N of `kvstore.state.anew`.

A restore makes one directory for each member, all from the same backup; they agree on the id because they make it from
the same things. A recovery makes one directory, of a cluster of one, to which others are added. It keeps everything
that the member has: all entries of its log, also those of which it did not know that they were committed, and its own
writes at level ONE. What only the lost members had is gone, acknowledged or not.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from kvstore import limits
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import Disk
from kvstore.consensus.raft import REGULAR
from kvstore.consensus.snapshots import SnapshotInfo, SnapshotStore, check_snapshot, read_snapshot, snapshot_head
from kvstore.errors import CorruptData, LocalError
from kvstore.model import commands
from kvstore.node.boot import (
    Bootstrap,
    Identity,
    Opened,
    cluster_id_of,
    first_configuration,
    has_identity,
    open_directory,
    write_identity,
)
from kvstore.node.intents import DIRECTORY as INTENTS
from kvstore.node.intents import unapplied
from kvstore.state.machine import Machine, MachineLoader
from kvstore.state.snapshot import CorruptSnapshot
from kvstore.vault.envelope import NO_KEYS, Vault

_ADVICE: Final = "This backup cannot be used. Take an older one, or save it again."
_UNFINISHED: Final = ".unfinished"


class NotEmpty(LocalError):
    """The directory that is to be made has something in it."""

    exit_code = 7


class Backup(NamedTuple):
    """What a backup holds. `stamp_ms`: wall clock milliseconds of the last write in it."""

    snapshot: SnapshotInfo
    revision: int
    compacted: int
    keys: int
    leases: int
    digest: int
    stamp_ms: int


class Remains(NamedTuple):
    """What a member has left. `last_index`, `last_term`: of its last log entry; `uncommitted` entries are not known to
    be committed. `intents`: its own acknowledged writes at level ONE that were not applied yet.
    """

    identity: Identity
    last_index: int
    last_term: int
    uncommitted: int
    revision: int
    keys: int
    intents: int
    voters: tuple[str, ...]


def look_at(disk: Disk, path: str, vault: Vault = NO_KEYS) -> Backup:
    """What the backup says of itself; every checksum is checked. Raises CorruptData and WrongKey."""
    with _sound(path):
        info = check_snapshot(disk, path, vault)
        loader = Machine.loader()
        for frame in read_snapshot(disk, path, vault):
            loader.add(frame)
            return _described(info, loader)
        raise CorruptSnapshot("there is nothing in it")


def verify(disk: Disk, path: str, vault: Vault = NO_KEYS) -> tuple[Backup, Machine]:
    """The same, and the state that the backup gives: all of it was read, counted and hashed. Raises CorruptData and
    WrongKey.
    """
    with _sound(path):
        info = snapshot_head(disk, path, vault)
        loader = Machine.loader()
        for frame in read_snapshot(disk, path, vault):
            loader.add(frame)
        machine = loader.finish()
        return _described(info, loader), machine


def restore(
    disk: Disk,
    path: str,
    directory: str,
    bootstrap: Bootstrap,
    rng: random.Random,
    vault: Vault = NO_KEYS,
    *,
    without_auth: bool = False,
) -> Identity:
    """Make `directory` that of a member of a new cluster with the state of the backup at `path`. `vault` has the key of
    the backup, if it has one, and that for the directory. `without_auth`: auth is not enabled in it. Raises
    CorruptData, WrongKey, and NotEmpty if there is something in the directory.
    """
    backup, machine = verify(disk, path, vault)
    machine.begin_anew(opened=without_auth)
    cluster_id = cluster_id_of(bootstrap, rng)
    if len(bootstrap.members) > 1:
        # Of the same members and token may be the old cluster.
        text = f"{cluster_id}\n{backup.snapshot.index} {backup.snapshot.term} {backup.revision} {backup.digest:x}"
        cluster_id = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    identity = Identity(cluster_id, bootstrap.name, f"{rng.getrandbits(64):016x}", 0)
    _write(disk, directory, machine, identity, first_configuration(bootstrap), intents=None, vault=vault)
    return identity


def examine(disk: Disk, directory: str, bootstrap: Bootstrap, rng: random.Random, vault: Vault = NO_KEYS) -> Remains:
    """What there is to recover. Raises CorruptData and WrongKey."""
    opened = _open(disk, directory, bootstrap, rng, vault)
    _, index, term = opened.journal.entries[-1]
    committed = opened.journal.commit_index
    _apply_all(opened)
    machine, name = opened.machine, opened.identity.name
    intents = unapplied(opened.intents, machine, name)
    voters = opened.journal.configuration.voters
    _close(opened)
    return Remains(
        opened.identity, index, term, max(index - committed, 0), machine.revision, len(machine), intents, voters
    )


def recover(
    disk: Disk,
    directory: str,
    into: str,
    bootstrap: Bootstrap,
    rng: random.Random,
    vault: Vault = NO_KEYS,
    *,
    without_auth: bool = False,
) -> Identity:
    """Make `into` the directory of the only member of a new cluster, with everything that the member of the old
    `directory` has. `vault`: for both. `without_auth`: auth is not enabled in it. Raises CorruptData, WrongKey, and
    NotEmpty if there is something in `into`.
    """
    opened = _open(disk, directory, bootstrap, rng, vault)
    try:
        _apply_all(opened)
        opened.machine.begin_anew(opened=without_auth)
        identity = opened.identity._replace(
            cluster_id=f"{rng.getrandbits(64):016x}", identity=f"{rng.getrandbits(64):016x}"
        )
        intents = os.path.join(directory, INTENTS)
        _write(disk, into, opened.machine, identity, first_configuration(bootstrap), intents=intents, vault=vault)
    finally:
        _close(opened)
    return identity


@contextmanager
def _sound(path: str) -> Iterator[None]:
    """What is wrong with a backup, and what to do about that: it is no part of a node."""
    try:
        yield
    except CorruptData as broken:
        raise CorruptData(path, broken.offset, broken.problem, _ADVICE) from broken
    except CorruptSnapshot as broken:
        raise CorruptData(path, 0, str(broken), _ADVICE) from broken


def _described(info: SnapshotInfo, loader: MachineLoader) -> Backup:
    header = loader.header
    return Backup(
        info,
        header["revision"],
        header["compaction_revision"],
        header["records"],
        header["leases"],
        header["digest"],
        header["last_stamp"][0],
    )


def _open(disk: Disk, directory: str, bootstrap: Bootstrap, rng: random.Random, vault: Vault) -> Opened:
    if not has_identity(disk, directory):
        raise CorruptData(directory, 0, "this is not the data directory of a node", "Name another one.")
    return open_directory(disk, directory, bootstrap, rng, vault=vault)


def _close(opened: Opened) -> None:
    opened.intents.close()
    opened.journal.close()


def _apply_all(opened: Opened) -> None:
    """Apply the whole log. Nobody is left who could say that an entry at its end was not committed."""
    entries, machine = opened.journal.entries, opened.machine
    for command, index, term in entries[machine.applied_index + 1 - entries[0][1] :]:
        if command[:1] == REGULAR:
            machine.apply(index, term, commands.decode(command[1:]))
        else:
            machine.skip(index, term)


def _write(
    disk: Disk,
    directory: str,
    machine: Machine,
    identity: Identity,
    members: Configuration,
    *,
    intents: str | None,
    vault: Vault,
) -> None:
    """The directory appears under its name when all of it is durable. `intents`: a log of level ONE writes to take
    along.
    """
    if disk.exists(directory) and disk.list(directory):
        raise NotEmpty(f"{directory}: there is something in it already; name a new directory")
    unfinished = os.path.normpath(directory) + _UNFINISHED
    if disk.exists(unfinished):
        raise NotEmpty(f"{unfinished} was left by an attempt that did not end; remove it")
    disk.mkdir(unfinished)
    if intents is not None:
        _copy_files(disk, intents, os.path.join(unfinished, INTENTS))
    index, term = machine.applied_index, machine.applied_term
    configuration = Configuration(index, members.members)
    snapshots = SnapshotStore(disk, os.path.join(unfinished, "snapshots"), vault)
    writer = snapshots.writer(index, term, configuration)
    for frame in machine.snapshot():
        writer.add(frame)
    writer.commit()
    write_identity(disk, unfinished, identity, configuration, begun=False)
    disk.rename(unfinished, directory)
    disk.sync_dir(os.path.dirname(os.path.normpath(directory)) or ".")


def _copy_files(disk: Disk, source: str, target: str) -> None:
    disk.mkdir(target)
    for name in disk.list(source):
        file = disk.open(os.path.join(source, name))
        copy = disk.open(os.path.join(target, name), create=True)
        try:
            for offset in range(0, file.size(), limits.SNAPSHOT_CHUNK_BYTES):
                copy.pwrite(file.pread(limits.SNAPSHOT_CHUNK_BYTES, offset), offset)
            copy.sync()
        finally:
            file.close()
            copy.close()
    disk.sync_dir(target)

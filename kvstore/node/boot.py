"""Opening a data directory: who this node is, and the state that its snapshot and journal give.

identity.json     cluster id, node name, random identity of this directory, number of starts
lock              held while a process uses the directory
journal/          segments
snapshots/        the latest snapshot
"""

import hashlib
import json
import os
import random
from typing import NamedTuple

from kvstore import limits
from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.disk import Disk, read_whole, write_whole
from kvstore.consensus.journal import Journal
from kvstore.consensus.snapshots import SnapshotInfo, SnapshotStore
from kvstore.errors import CorruptData
from kvstore.state.machine import Machine

IDENTITY_FILE = "identity.json"
IDENTITY_BYTES_MAX = 4_096
FORMAT = 1


class Bootstrap(NamedTuple):
    """What a new directory is to become: one of `members` (name -> HOST:PORT) of a new cluster."""

    name: str
    members: dict[str, str]
    cluster_token: str


class Identity(NamedTuple):
    """Who a data directory belongs to. `incarnation` counts its starts."""

    cluster_id: str
    name: str
    identity: str
    incarnation: int


class Opened(NamedTuple):
    """A data directory, ready for a member to run on."""

    identity: Identity
    journal: Journal
    snapshots: SnapshotStore
    machine: Machine


def cluster_id_of(bootstrap: Bootstrap, rng: random.Random) -> str:
    """Every first member computes the same id from names, peer addresses and token; a single node takes a random
    one.
    """
    if len(bootstrap.members) == 1 and not bootstrap.cluster_token:
        return f"{rng.getrandbits(64):016x}"
    text = "\n".join([bootstrap.cluster_token, *(f"{name}={peer}" for name, peer in sorted(bootstrap.members.items()))])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def open_directory(
    disk: Disk,
    directory: str,
    bootstrap: Bootstrap,
    rng: random.Random,
    *,
    segment_bytes: int = limits.SEGMENT_BYTES,
) -> Opened:
    """Recover, or start afresh in an empty directory. Raises CorruptData with file, offset and advice."""
    disk.mkdir(directory)
    identity = _identify(disk, directory, bootstrap, rng)
    snapshots = SnapshotStore(disk, os.path.join(directory, "snapshots"))
    journal = Journal.open(disk, os.path.join(directory, "journal"), segment_bytes=segment_bytes, entropy=rng.randbytes)
    machine = _recover(directory, journal, snapshots)
    if not journal.configuration.members:
        members = [Member(name, peer, "", True, "") for name, peer in bootstrap.members.items()]
        journal.set_configuration(Configuration(1, tuple(sorted(members))))
        journal.sync()
    return Opened(identity, journal, snapshots, machine)


def _identify(disk: Disk, directory: str, bootstrap: Bootstrap, rng: random.Random) -> Identity:
    path = os.path.join(directory, IDENTITY_FILE)
    if disk.exists(path):
        try:
            stored = json.loads(read_whole(disk, path, IDENTITY_BYTES_MAX))
            known = Identity(
                str(stored["cluster_id"]), str(stored["name"]), str(stored["identity"]), int(stored["incarnation"])
            )
            if stored["format"] != FORMAT:
                raise ValueError(f"format {stored['format']!r}")
        except (ValueError, KeyError, TypeError) as broken:
            raise CorruptData(
                path,
                0,
                f"not an identity file ({broken})",
                "Restore it from a backup, or replace this member by a new one.",
            ) from broken
        if known.name != bootstrap.name:
            raise CorruptData(
                path,
                0,
                f"this directory belongs to node {known.name!r}, not to {bootstrap.name!r}",
                f"Start it with --name {known.name}, or give another --data-dir.",
            )
        identity = known._replace(incarnation=known.incarnation + 1)
    else:
        if disk.exists(os.path.join(directory, "journal")):
            raise CorruptData(
                path,
                0,
                "missing, although there is a journal",
                "Restore it from a backup; a journal without it is nobody's.",
            )
        identity = Identity(cluster_id_of(bootstrap, rng), bootstrap.name, f"{rng.getrandbits(64):016x}", 1)
    text = json.dumps({"format": FORMAT, **identity._asdict()})
    write_whole(disk, directory, IDENTITY_FILE, [text.encode()])
    return identity


def _recover(directory: str, journal: Journal, snapshots: SnapshotStore) -> Machine:
    """The state of the snapshot, with a log that goes on from it (facts 10 and 11 of the engine, made impossible)."""
    info = snapshots.latest()
    base = journal.entries[0][1]
    if info is None:
        if base > 1:
            raise CorruptData(
                os.path.join(directory, "snapshots"),
                0,
                f"there is no snapshot, but the log starts at index {base}",
                "Restore the snapshot from a backup, or replace this member by a new one.",
            )
        return Machine()
    if base > info.index:
        raise CorruptData(
            info.path,
            0,
            f"the snapshot ends at index {info.index}, but the log starts only at {base}",
            "Restore the newer snapshot from a backup, or replace this member by a new one.",
        )
    _go_on_from(journal, info)
    loader = Machine.loader()
    for frame in snapshots.frames(info):
        loader.add(frame)
    return loader.finish()


def _go_on_from(journal: Journal, info: SnapshotInfo) -> None:
    """Keep the log's suffix if the log holds the snapshot's last entry; else the snapshot replaces the log.

    The second happens after a crash between a received snapshot's renaming and the replacing of the log.
    """
    offset = info.index - journal.entries[0][1]
    if not (offset < len(journal.entries) and journal.entries[offset][2] == info.term):
        journal.reset(info.index, info.term, info.configuration)
    elif journal.commit_index < info.index:
        journal.set_commit(info.index)

"""Opening a data directory: who this node is, and the state that its snapshot and journal give.

identity.json     cluster id, node name, random identity, number of starts, first configuration
lock              held while a process uses the directory
journal/          segments of the log
intents/          segments of this node's own writes at level ONE
snapshots/        the latest snapshot
"""

import hashlib
import json
import os
import random
from typing import NamedTuple

from kvstore import limits
from kvstore.config import ServerConfig
from kvstore.consensus import membership
from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.disk import Disk, read_whole, write_whole
from kvstore.consensus.journal import Journal
from kvstore.consensus.snapshots import SnapshotInfo, SnapshotStore
from kvstore.errors import CorruptData
from kvstore.state.machine import Machine
from kvstore.vault.envelope import NO_KEYS, Vault

IDENTITY_FILE = "identity.json"
IDENTITY_BYTES_MAX = 4_096
FORMAT = 1


class Bootstrap(NamedTuple):
    """What a new directory is to become: one of `members` (name -> HOST:PORT) of a new cluster, or, with `joins`, of
    the cluster with that id: then this node alone begins as a learner, and only what its log says changes that.
    """

    name: str
    members: dict[str, str]
    cluster_token: str
    joins: str | None = None


def bootstrap_of(config: ServerConfig) -> Bootstrap:
    """What a node with these settings begins as, unless it joins."""
    members = {name: str(address) for name, address in config.peers.items()}
    return Bootstrap(config.name, members | {config.name: str(config.listen_peer)}, config.cluster_token)


class Identity(NamedTuple):
    """Who a data directory belongs to. `incarnation` counts its starts."""

    cluster_id: str
    name: str
    identity: str
    incarnation: int


class Opened(NamedTuple):
    """A data directory, ready for a member to run on."""

    identity: Identity
    initial: Configuration
    journal: Journal
    snapshots: SnapshotStore
    machine: Machine
    intents: Journal
    vault: Vault = NO_KEYS


def cluster_id_of(bootstrap: Bootstrap, rng: random.Random) -> str:
    """Every first member computes the same id, from token and names, or without a token from names and peer addresses;
    a single node without a token takes a random one.

    With a token the addresses do not count: each node may reach the others at addresses of its own.
    """
    token = bootstrap.cluster_token
    if len(bootstrap.members) == 1 and not token:
        return f"{rng.getrandbits(64):016x}"
    members = sorted(bootstrap.members.items())
    text = "\n".join([token, *(name if token else f"{name}={peer}" for name, peer in members)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def open_directory(
    disk: Disk,
    directory: str,
    bootstrap: Bootstrap,
    rng: random.Random,
    *,
    segment_bytes: int = limits.SEGMENT_BYTES,
    vault: Vault = NO_KEYS,
) -> Opened:
    """Recover, or start afresh in an empty directory. What is written is encrypted as `vault` says. Raises CorruptData
    with file, offset and advice, and WrongKey.
    """
    disk.mkdir(directory)
    # Else a loss of power could take the whole directory, and with it a vote that was given.
    disk.sync_dir(os.path.dirname(os.path.normpath(directory)) or ".")
    identity, initial, begun = _identify(disk, directory, bootstrap, rng)
    snapshots = SnapshotStore(disk, os.path.join(directory, "snapshots"), vault)
    if begun and not _has_files(disk, os.path.join(directory, "journal")):
        raise CorruptData(
            os.path.join(directory, "journal"),
            0,
            "the journal is gone, and with it the votes that this node gave",
            "Restore it from a backup, or replace this member by a new one.",
        )
    journal = Journal.open(
        disk, os.path.join(directory, "journal"), segment_bytes=segment_bytes, entropy=rng.randbytes, vault=vault
    )
    if begun and not _has_files(disk, os.path.join(directory, "intents")):
        raise CorruptData(
            os.path.join(directory, "intents"),
            0,
            "the intent log is gone, and with it writes that this node may have acknowledged",
            "Restore it from a backup, or replace this member by a new one.",
        )
    machine = _recover(directory, journal, snapshots)
    # Folded anew: after a crash the journal's own note of it may be ahead of its log, or behind.
    info = snapshots.latest()
    below_log = initial if info is None else info.configuration
    journal.set_configuration(membership.folded(journal.entries, below_log))
    journal.sync()
    intents = Journal.open(
        disk,
        os.path.join(directory, "intents"),
        segment_bytes=min(segment_bytes, limits.INTENT_SEGMENT_BYTES),
        entropy=rng.randbytes,
        vault=vault,
    )
    if not begun:
        write_identity(disk, directory, identity, initial, begun=True)
    return Opened(identity, initial, journal, snapshots, machine, intents, vault)


def has_identity(disk: Disk, directory: str) -> bool:
    """Whether the directory belongs to a node already."""
    return disk.exists(os.path.join(directory, IDENTITY_FILE))


def _has_files(disk: Disk, directory: str) -> bool:
    return disk.exists(directory) and bool(disk.list(directory))


def first_configuration(bootstrap: Bootstrap) -> Configuration:
    """What holds below the log's first entry. Identities are bound by the first leader (rule M5)."""
    joins = bootstrap.joins is not None
    members = [
        Member(name, peer, "", not joins or name != bootstrap.name, "") for name, peer in bootstrap.members.items()
    ]
    return Configuration(0 if joins else 1, tuple(sorted(members)))


def _identify(
    disk: Disk, directory: str, bootstrap: Bootstrap, rng: random.Random
) -> tuple[Identity, Configuration, bool]:
    """Who the directory belongs to, its first configuration, and whether its journal was begun."""
    path = os.path.join(directory, IDENTITY_FILE)
    if disk.exists(path):
        known, initial, begun = _read_identity(disk, path)
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
        cluster_id = bootstrap.joins or cluster_id_of(bootstrap, rng)
        identity = Identity(cluster_id, bootstrap.name, f"{rng.getrandbits(64):016x}", 1)
        initial, begun = first_configuration(bootstrap), False
    write_identity(disk, directory, identity, initial, begun=begun)
    return identity, initial, begun


def _read_identity(disk: Disk, path: str) -> tuple[Identity, Configuration, bool]:
    try:
        stored = json.loads(read_whole(disk, path, IDENTITY_BYTES_MAX))
        known = Identity(
            str(stored["cluster_id"]), str(stored["name"]), str(stored["identity"]), int(stored["incarnation"])
        )
        initial = Configuration.from_wire(stored["configuration"])
        begun = bool(stored["journal_begun"])
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}")
    except (ValueError, KeyError, TypeError) as broken:
        raise CorruptData(
            path,
            0,
            f"not an identity file ({broken})",
            "Restore it from a backup, or replace this member by a new one.",
        ) from broken
    return known, initial, begun


def write_identity(disk: Disk, directory: str, identity: Identity, initial: Configuration, *, begun: bool) -> None:
    """Durably. `begun`: whether the journal is there, so that a start without it is a loss."""
    stored = {"format": FORMAT, **identity._asdict(), "configuration": initial.as_wire(), "journal_begun": begun}
    write_whole(disk, directory, IDENTITY_FILE, [json.dumps(stored).encode()])


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
    if journal.term < info.term:
        # Only in a directory that was made from a backup (new_cluster): a node that was sent a snapshot knows its term.
        journal.set_term(info.term, None)
    offset = info.index - journal.entries[0][1]
    if not (offset < len(journal.entries) and journal.entries[offset][2] == info.term):
        journal.reset(info.index, info.term, info.configuration)
    elif journal.commit_index < info.index:
        journal.set_commit(info.index)

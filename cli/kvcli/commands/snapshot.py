"""`kv snapshot`: backups of the whole store, and new clusters from them."""

import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from kvcli import output
from kvcli.in_place import in_place
from kvcli.keys import KEY_SETTINGS, vault_of
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import Choice, group
from kvcli.setting_flags import setting_flags

if TYPE_CHECKING:
    from kvstore.client import AsyncClient
    from kvstore.node.new_cluster import Backup
    from kvstore.vault.envelope import Vault

# What a member is made from; the rest is given when it is started.
_MEMBER: Final = ("name", "data_dir", "listen_peer", "peers", "cluster_token", "insecure_bind", *KEY_SETTINGS)


@group(short_help="Save, verify and restore backups.")
def snapshot() -> None:
    """Save a backup of a running cluster, verify it, and make new clusters from it."""


@snapshot.command("save", short_help="Save a backup.")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--level",
    type=Choice(["one", "quorum"]),
    default="quorum",
    show_default=True,
    help="quorum: with everything that was acknowledged before; one: what the node asked has, also without a leader.",
)
@setting_flags(KEY_SETTINGS)
@global_options
def save(file: str, level: str, config_path: str | None, **flags: Any) -> None:
    """Save the whole store to FILE, as it is at one revision, while it is being used.

    FILE appears under its name, or takes the place of an older one, only when it is complete and its checksums are
    right. Writes at level one that no leader has yet are not in it. It is encrypted, if the node that is asked encrypts
    what it keeps. Then no key is needed here, but only with the node's keys it is told what is in it.
    """
    vault = vault_of(flags, config_path)
    with in_place(file) as target:
        run_with_client(lambda client: _download(client, target, level))
        backup = _look_at(target, vault)
    _show(file, backup)


@snapshot.command("verify", short_help="Check a backup.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@setting_flags(KEY_SETTINGS)
@global_options
def verify(file: str, config_path: str | None, **flags: Any) -> None:
    """Read all of FILE as a restore would, and tell what is in it. Exit code 7 if it is damaged, or its key is not
    there.
    """
    from kvstore.consensus.disk import OsDisk
    from kvstore.node.new_cluster import verify as verified

    _show(file, verified(OsDisk(), file, vault_of(flags, config_path))[0])


@snapshot.command("restore", short_help="Make a data directory from a backup.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@setting_flags(_MEMBER)
@click.option(
    "--without-auth",
    is_flag=True,
    help="Auth is not enabled in the new cluster, and users and roles stay: for who has lost root's password.",
)
@global_options
def restore(file: str, without_auth: bool, config_path: str | None, **flags: Any) -> None:
    """Make --data-dir that of a member of a new cluster with what is in FILE. Nothing may be in it.

    Do it once for each member, with the same FILE and token and the settings that the member is then started with (kv
    serve). The cluster is a new one: members of the old one are refused. Revisions go on 1,000,000,000 above those of
    the backup, so that they never go backwards; watches from before get 410 compacted.
    """
    from kvstore.config import load
    from kvstore.consensus.disk import OsDisk
    from kvstore.node import new_cluster
    from kvstore.node.boot import bootstrap_of

    config = load(flags, os.environ, config_path)
    vault, rng = vault_of(flags, config_path), random.SystemRandom()
    identity = new_cluster.restore(
        OsDisk(), file, config.data_dir, bootstrap_of(config), rng, vault, without_auth=without_auth
    )
    if settings().output is Mode.JSON:
        output.write_json({"cluster_id": identity.cluster_id, "name": identity.name, "data_dir": config.data_dir})
        return
    output.message(f"{config.data_dir} is that of {identity.name}, a member of the new cluster {identity.cluster_id}")
    if config.peers:
        output.continued(f"do the same for {', '.join(config.peers)}, then start all of them with the same settings")


async def _download(client: "AsyncClient", target: str, level: str) -> None:
    # Whoever can read it can read every key.
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        await client.backup(file, level=level)
        file.flush()
        os.fsync(file.fileno())


def _look_at(file: str, vault: "Vault") -> "Backup | int":
    """What is in it; without keys, of an encrypted one: the number of its key, once its checksums are right."""
    from kvstore.consensus.disk import OsDisk
    from kvstore.consensus.sealed_file import check_if_sealed
    from kvstore.node.new_cluster import look_at

    if not vault.has_keys and (key_id := check_if_sealed(OsDisk(), file)):
        return key_id
    return look_at(OsDisk(), file, vault)


def _show_sealed(file: str, key_id: int) -> None:
    size = os.path.getsize(file)
    if settings().output is Mode.JSON:
        output.write_json({"file": file, "bytes": size, "key": key_id})
        return
    output.write_line(f"{file}: encrypted with key {key_id}, {size:,} bytes")


def _show(file: str, backup: "Backup | int") -> None:
    if isinstance(backup, int):
        _show_sealed(file, backup)
        return
    told = {
        "file": file,
        "bytes": os.path.getsize(file) if backup.snapshot.key_id else backup.snapshot.size,
        "revision": backup.revision,
        "compacted": backup.compacted,
        "keys": backup.keys,
        "leases": backup.leases,
        "digest": f"{backup.digest:016x}",
        "index": backup.snapshot.index,
        "term": backup.snapshot.term,
        "last_write": _time(backup.stamp_ms),
        "members": list(backup.snapshot.configuration.names),
    }
    if backup.snapshot.key_id:
        told["key"] = backup.snapshot.key_id
    mode = settings().output
    if mode is Mode.JSON:
        output.write_json(told)
    elif mode is Mode.TABLE:
        output.write_rows(["", "backup"], [[name, _plain(value)] for name, value in told.items()], mode)
    else:
        wrote = f"last write {told['last_write'] or 'never'}"
        output.write_line(
            f"{file}: revision {backup.revision}, {backup.keys:,} keys, {backup.snapshot.size:,} bytes, {wrote}"
        )


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)


def _time(stamp_ms: int) -> str | None:
    return datetime.fromtimestamp(stamp_ms / 1000, UTC).isoformat(timespec="seconds") if stamp_ms else None

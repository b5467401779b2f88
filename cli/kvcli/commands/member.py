"""`kv member`: the members of a running cluster, and what can be made of one that has lost its majority."""

import os
import random
from typing import TYPE_CHECKING, Any

import click

from kvcli import completing, output
from kvcli.commands.status import show_cluster
from kvcli.exit_codes import Exit
from kvcli.keys import KEY_SETTINGS, vault_of
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import group
from kvcli.setting_flags import setting_flags
from kvcli.sizes import even_size
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

if TYPE_CHECKING:
    from kvstore.model.results import ClusterView
    from kvstore.node.new_cluster import Remains

_LOST: dict[int | None, str] = {
    0: "",
    None: "; acknowledged writes at level one that only it held, if there were any, are lost with it",
}


@group(short_help="Add, remove, recover members; hand over leadership.")
def member() -> None:
    """List, add and remove the members of a running cluster, hand leadership over, and recover what is left of one."""


@member.command("list", short_help="Show the members.")
@global_options
def list_() -> None:
    """Show the members: role, reachability, addresses, indices."""
    show_cluster()


@member.command("add", short_help="Take in a new member.")
@click.argument("name")
@click.argument("peer", metavar="HOST:PORT")
@global_options
def add(name: str, peer: str) -> None:
    """Take in NAME, which will listen to its peers at HOST:PORT.

    It begins as a learner and becomes a voter by itself once it has caught up. Start it afterwards, with an empty data
    directory and --join URL, the HTTP address of any member.
    """

    async def change(client: AsyncClient) -> "ClusterView":
        return await client.add_member(name, peer)

    view = run_with_client(change)
    _tell_json({"name": name, "peer": peer})
    output.message(f"added {name}; start it with: kv serve --name {name} --listen-peer {peer} --join URL ...")
    _warn_of_even(len(view.members))


@member.command("remove", short_help="Remove a member.")
@click.argument("name", shell_complete=completing.members)
@click.option("--force", is_flag=True, help="Lose what only NAME holds, if it holds any.")
@global_options
def remove(name: str, force: bool) -> None:
    """Remove NAME. A leader hands over first. Stop its process afterwards; its data directory is of no more use.

    Refused while NAME holds acknowledged writes at level one that nobody else has, or cannot be asked whether it does;
    a member that is dead for good is removed with --force.
    """

    async def change(client: AsyncClient) -> tuple[int | None, int]:
        lost = await client.remove_member(name, force=force)
        try:
            return lost, len((await client.cluster()).members)
        except (KvError, LocalError):  # it is removed all the same
            return lost, 0

    lost, left = run_with_client(change)
    _tell_json({"name": name, "lost_writes": lost})
    output.message(f"removed {name}{_LOST.get(lost, f'; {lost} acknowledged writes at level one are lost with it')}")
    _warn_of_even(left)


def _tell_json(document: dict[str, Any]) -> None:
    """For a program that asked for it; the message goes to standard error in any case."""
    if settings().output is Mode.JSON:
        output.write_json(document)


def _warn_of_even(members: int) -> None:
    if (advice := even_size(members)) is not None:
        output.message(advice)


@member.command("transfer", short_help="Hand leadership over.")
@click.argument("name", required=False, shell_complete=completing.members)
@global_options
def transfer(name: str | None) -> None:
    """Make NAME the leader, or whoever is most current."""

    async def change(client: AsyncClient) -> str | None:
        return (await client.transfer_leader(name)).leader

    leads = run_with_client(change)
    _tell_json({"leader": leads})
    output.message(f"{leads} leads now")


@member.command("recover", short_help="Begin a new cluster with what one member has left.")
@click.argument("old", metavar="OLD_DIR", type=click.Path(exists=True, file_okay=False))
@setting_flags(("name", "data_dir", "listen_peer", "insecure_bind", *KEY_SETTINGS))
@click.option(
    "--without-auth",
    is_flag=True,
    help="Auth is not enabled in the new cluster, and users and roles stay: for who has lost root's password.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@global_options
def recover(old: str, yes: bool, without_auth: bool, config_path: str | None, **flags: Any) -> int:
    """Make --data-dir that of the only member of a new cluster, with everything that is in OLD_DIR, the data directory
    of member --name of a cluster that has lost its majority for good.

    The last resort: what had been acknowledged by the lost members, and had not reached this one, is gone. While a
    majority can still be brought back, bring it back; where several members are left, recover the one whose log goes
    furthest (highest term, then highest index). Start the new member, then add others (kv member add).
    """
    from kvstore.config import load
    from kvstore.consensus.disk import OsDisk
    from kvstore.node import new_cluster
    from kvstore.node.boot import bootstrap_of
    from kvstore.node.directory_lock import hold

    config = load(flags, os.environ, config_path)
    alone = bootstrap_of(config)._replace(members={config.name: str(config.listen_peer)})
    rng = random.SystemRandom()
    vault = vault_of(flags, config_path)
    with hold(old):
        _warn(old, new_cluster.examine(OsDisk(), old, alone, rng, vault))
        if not yes and not click.confirm("kv: begin a new cluster with this?", err=True):
            output.message("nothing was changed")
            return Exit.REFUSED
        identity = new_cluster.recover(OsDisk(), old, config.data_dir, alone, rng, vault, without_auth=without_auth)
    output.message(
        f"{config.data_dir} is that of {identity.name}, the only member of the new cluster {identity.cluster_id}"
    )
    output.continued(f"start it: kv serve --name {identity.name} --data-dir {config.data_dir} ...")
    output.continued("never start a member of the old cluster again with its old data directory")
    return Exit.OK


def _warn(old: str, left: "Remains") -> None:
    output.message(
        f"{old}: node {left.identity.name} of cluster {left.identity.cluster_id}, voters {', '.join(left.voters)}"
    )
    output.continued(f"its log ends with entry {left.last_index} of term {left.last_term}; with all of it applied")
    output.continued(f"the store is at revision {left.revision} and has {left.keys:,} keys")
    if left.uncommitted:
        output.continued(f"entries not known to be committed, which will count as committed: {left.uncommitted:,}")
    if left.intents:
        output.continued(f"its own writes at level one that are not applied yet, and come along: {left.intents:,}")
    output.continued("what the other members have acknowledged and this one does not have will be gone for good")
    output.continued("if a majority of them can be brought back, do that instead")

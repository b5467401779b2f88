"""`kv member`: the members of a running cluster."""

import click

from kvcli import output
from kvcli.commands.status import show_cluster
from kvcli.options import global_options, run_with_client
from kvstore.client import AsyncClient

_LOST: dict[int | None, str] = {
    0: "",
    None: "; acknowledged writes at level one that only it held, if there were any, are lost with it",
}


@click.group(short_help="List, add and remove members, hand leadership over.")
def member() -> None:
    """List, add and remove the members of a running cluster, and hand leadership over."""


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

    async def change(client: AsyncClient) -> None:
        await client.add_member(name, peer)

    run_with_client(change)
    output.message(f"added {name}; start it with: kv serve --name {name} --listen-peer {peer} --join URL ...")


@member.command("remove", short_help="Remove a member.")
@click.argument("name")
@click.option("--force", is_flag=True, help="Lose what only NAME holds, if it holds any.")
@global_options
def remove(name: str, force: bool) -> None:
    """Remove NAME. A leader hands over first. Stop its process afterwards; its data directory is of no more use.

    Refused while NAME holds acknowledged writes at level one that nobody else has, or cannot be asked whether it does;
    a member that is dead for good is removed with --force.
    """

    async def change(client: AsyncClient) -> int | None:
        return await client.remove_member(name, force=force)

    lost = run_with_client(change)
    output.message(f"removed {name}{_LOST.get(lost, f'; {lost} acknowledged writes at level one are lost with it')}")


@member.command("transfer", short_help="Hand leadership over.")
@click.argument("name", required=False)
@global_options
def transfer(name: str | None) -> None:
    """Make NAME the leader, or whoever is most current."""

    async def change(client: AsyncClient) -> str | None:
        return (await client.transfer_leader(name)).leader

    output.message(f"{run_with_client(change)} leads now")

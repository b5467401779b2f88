"""`kv user`: who may say who they are, and with which roles."""

from typing import Any

import click

from kvcli import completing, output
from kvcli.commands.auth import tell_changed
from kvcli.credentials import new_password
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import group

_new_password_file = click.option(
    "--new-password-file",
    metavar="FILE",
    help="File with the new password, - for standard input. Without it: KV_NEW_PASSWORD, or a prompt.",
)


@group(short_help="Add and remove users, give them roles.")
def user() -> None:
    """Users: who may say who they are. What they may do is in their roles (kv role)."""


@user.command("add", short_help="Add a user.")
@click.argument("name")
@click.option("--no-password", is_flag=True, help="Known only by tokens of others, or a certificate.")
@_new_password_file
@global_options
def add(name: str, no_password: bool, new_password_file: str | None) -> None:
    """Add the user NAME, who may do nothing yet."""
    password = None if no_password else new_password(name, new_password_file)
    tell_changed(run_with_client(lambda client: client.add_user(name, password)), f"the user {name} was added")


@user.command("delete", short_help="Remove a user.")
@click.argument("name", shell_complete=completing.users)
@global_options
def delete(name: str) -> None:
    """Remove the user NAME. Its tokens are void, and its streams end."""
    tell_changed(run_with_client(lambda client: client.delete_user(name)), f"the user {name} was removed")


@user.command("list", short_help="List users.")
@global_options
def list_() -> None:
    """List all users, with their roles."""
    told = run_with_client(lambda client: client.users())
    mode = settings().output
    if mode is Mode.JSON:
        output.write_json({"users": told})
        return
    output.write_rows(["USER", "PASSWORD", "ROLES"], [_row(each) for each in told], mode)


@user.command("passwd", short_help="Change a password.")
@click.argument("name", shell_complete=completing.users)
@click.option("--no-password", is_flag=True, help="Take it away.")
@_new_password_file
@global_options
def passwd(name: str, no_password: bool, new_password_file: str | None) -> None:
    """Change the password of NAME: your own, or anybody's if you may admin. Its tokens are void."""
    password = None if no_password else new_password(name, new_password_file)
    tell_changed(run_with_client(lambda client: client.set_password(name, password)), f"{name} has another password")


@user.command("grant", short_help="Give a user a role.")
@click.argument("name", shell_complete=completing.users)
@click.argument("role", shell_complete=completing.roles)
@global_options
def grant(name: str, role: str) -> None:
    """Give the user NAME a ROLE."""
    tell_changed(run_with_client(lambda client: client.grant_role(name, role)), f"{name} has the role {role}")


@user.command("revoke", short_help="Take a role from a user.")
@click.argument("name", shell_complete=completing.users)
@click.argument("role", shell_complete=completing.roles)
@global_options
def revoke(name: str, role: str) -> None:
    """Take a ROLE from the user NAME."""
    tell_changed(
        run_with_client(lambda client: client.revoke_role(name, role)), f"{name} does not have the role {role}"
    )


def _row(told: dict[str, Any]) -> list[str]:
    return [told["name"], "yes" if told["password"] else "no", ", ".join(told["roles"]) or "-"]

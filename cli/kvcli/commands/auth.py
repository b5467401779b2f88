"""`kv auth` and `kv token`: whether callers must say who they are, and tokens that say it."""

import sys

import click

from kvcli import output
from kvcli.credentials import new_password, password_of
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import command, group


@group(short_help="Enable and disable users and permissions.")
def auth() -> None:
    """Enable and disable users, roles and permissions (docs/security.md)."""


@auth.command("enable", short_help="Ask everybody who they are.")
@click.option(
    "--new-password-file",
    metavar="FILE",
    help="File with root's password, - for standard input. Without it: KV_NEW_PASSWORD, or a prompt.",
)
@click.option("--keep-password", is_flag=True, help="Root keeps the password that it has.")
@global_options
def enable(new_password_file: str | None, keep_password: bool) -> None:
    """Enable auth: from now on every request must say who it is.

    Root, who may do everything, gets its password here. Refused (exit code 4) if it would have none, or while a member
    runs a version that knows no users.
    """
    password = None if keep_password else new_password("root", new_password_file)
    tell_changed(run_with_client(lambda client: client.enable_auth(password)), "auth is enabled")


@auth.command("disable", short_help="Ask nobody any more.")
@global_options
def disable() -> None:
    """Disable auth: everybody may do everything. Users and roles stay as they are."""
    tell_changed(run_with_client(lambda client: client.disable_auth()), "auth is disabled")


@auth.command("status", short_help="Show whether it is enabled.")
@global_options
def status() -> None:
    """Show whether auth is enabled, and who you are."""
    told = run_with_client(lambda client: client.auth_status())
    if settings().output is Mode.JSON:
        output.write_json(told)
        return
    you = f"you are {told['user']}, with the roles: {', '.join(told['roles']) or 'none'}" if told["user"] else ""
    state = "enabled" if told["enabled"] else "disabled"
    output.write_line(f"auth is {state}, auth revision {told['auth_revision']}" + (f"; {you}" if you else ""))


@auth.command("rotate", short_help="Sign tokens with a new key.")
@click.option("--forget", is_flag=True, help="Void all tokens that were given before, at once.")
@global_options
def rotate(forget: bool) -> None:
    """Sign tokens with a new key from now on. What the key before it has signed stays good until the next rotation."""
    tell_changed(run_with_client(lambda client: client.rotate_keys(forget=forget)), "tokens are signed with a new key")


@command(short_help="Get a token for a user and a password.")
@global_options
def token() -> None:
    """Print a token for --user and its password: export KV_TOKEN=$(kv token --user root)."""
    chosen = settings()
    if chosen.user is None:
        raise click.UsageError("name a user with --user or KV_USER")
    user, password = chosen.user, password_of(chosen.user, chosen.password_file)
    text, lasts_s = run_with_client(lambda client: client.get_token(user, password), anonymous=True)
    if chosen.output is Mode.JSON:
        output.write_json({"token": text, "user": user, "expires_seconds": lasts_s})
        return
    output.write_line(text)
    if sys.stdout.isatty():
        output.message(f"it is good for {lasts_s:g} s")


def tell_changed(auth_revision: int, what: str) -> None:
    """Say `what` was done, and at which auth revision."""
    if settings().output is Mode.JSON:
        output.write_json({"auth_revision": auth_revision})
    else:
        output.message(f"{what}, auth revision {auth_revision}")

"""`kv role`: what the users who have it may do."""

import base64
from typing import Any

import click

from kvcli import completing, output
from kvcli.commands.auth import tell_changed
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import group
from kvcli.suggest import did_you_mean
from kvstore.model.keys import prefix_end
from kvstore.model.permissions import VERBS


@group(short_help="Add and remove roles, give them permissions.")
def role() -> None:
    """Roles: verbs on keys. Verbs are read, write, delete, watch, lease and admin."""


@role.command("add", short_help="Add a role.")
@click.argument("name")
@global_options
def add(name: str) -> None:
    """Add the role NAME, without permissions."""
    tell_changed(run_with_client(lambda client: client.add_role(name)), f"the role {name} was added")


@role.command("delete", short_help="Remove a role.")
@click.argument("name", shell_complete=completing.roles)
@global_options
def delete(name: str) -> None:
    """Remove the role NAME, from all users, too."""
    tell_changed(run_with_client(lambda client: client.delete_role(name)), f"the role {name} was removed")


@role.command("list", short_help="List roles.")
@global_options
def list_() -> None:
    """List all roles, with their permissions."""
    _show(run_with_client(lambda client: client.roles()))


@role.command("show", short_help="Show a role.")
@click.argument("name", shell_complete=completing.roles)
@global_options
def show(name: str) -> None:
    """Show the permissions of the role NAME."""
    told = run_with_client(lambda client: client.role(name))
    if settings().output is Mode.JSON:
        output.write_json(told)
    else:
        _show([told])


def _range_options(command: Any) -> Any:
    for option in (
        click.option("--end", metavar="KEY", help="The last key of the range, exclusive."),
        click.option("--start", metavar="KEY", help="The first key of the range."),
        click.option("--prefix", metavar="PREFIX", help="All keys that begin with it; an empty one is all."),
        click.option("--only", "key", metavar="KEY", help="This key alone."),
        click.argument("verbs", metavar="VERB,...", callback=_verbs),
        click.argument("name", shell_complete=completing.roles),
    ):
        command = option(command)
    return command


def _verbs(context: click.Context, parameter: click.Parameter, written: str) -> list[str]:
    verbs = written.split(",")
    if wrong := [verb for verb in verbs if verb not in VERBS]:
        meant = did_you_mean(wrong[0], VERBS)
        raise click.BadParameter(f"{wrong[0]!r} is none of {', '.join(VERBS)}.{meant}", context, parameter)
    return verbs


@role.command("grant", short_help="Give a role a permission.")
@_range_options
@global_options
def grant(name: str, verbs: list[str], **keys: str | None) -> None:
    """Give the role NAME the VERBS (comma list) on a key, a prefix, or a range."""
    given = _given(keys)
    revision = run_with_client(lambda client: client.grant_permission(name, verbs, **given))
    tell_changed(revision, f"{name} may {', '.join(verbs)}")


@role.command("revoke", short_help="Take a permission from a role.")
@_range_options
@global_options
def revoke(name: str, verbs: list[str], **keys: str | None) -> None:
    """Take the VERBS from the role NAME, on exactly the key, prefix or range on which it has them."""
    given = _given(keys)
    revision = run_with_client(lambda client: client.revoke_permission(name, verbs, **given))
    tell_changed(revision, f"{name} may not {', '.join(verbs)} there any more")


def _given(keys: dict[str, str | None]) -> dict[str, Any]:
    given = {name: key_bytes(key) for name, key in keys.items() if key is not None}
    if set(given) not in ({"key"}, {"prefix"}, {"start"}, {"end"}, {"start", "end"}):
        raise click.UsageError("give --only, --prefix (an empty one: all keys), or --start and --end")
    return given


def _show(roles: list[dict[str, Any]]) -> None:
    mode = settings().output
    if mode is Mode.JSON:
        output.write_json({"roles": roles})
        return
    rows = []
    for each in roles:
        for permission in each["permissions"]:
            start, end = _bytes(permission, "start") or b"", _bytes(permission, "end")
            rows.append([each["name"], ",".join(permission["verbs"]), _range(start, end)])
        if not each["permissions"]:
            rows.append([each["name"], "-", "-"])
    output.write_rows(["ROLE", "VERBS", "KEYS"], rows, mode)


def _bytes(permission: dict[str, Any], name: str) -> bytes | None:
    if name in permission:
        return str(permission[name]).encode()
    encoded = permission.get(f"{name}_base64")
    return None if encoded is None else base64.b64decode(encoded)


def _range(start: bytes, end: bytes | None) -> str:
    """As one would have written it."""
    if end == start + b"\x00":
        return f"key {output.printable(start)}"
    if end == prefix_end(start):
        return f"prefix {output.printable(start)}" if start else "all keys"
    return f"{output.printable(start)} up to {'the last' if end is None else output.printable(end)}"

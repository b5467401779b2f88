"""`kv settings`: values that all nodes share, and that can be changed while they run."""

from typing import TYPE_CHECKING, Any

import click

from kvcli import completing, output
from kvcli.options import global_options, run_with_client
from kvcli.options import settings as chosen
from kvcli.output import Mode
from kvcli.pages import group
from kvcli.suggest import did_you_mean
from kvstore import limits
from kvstore.errors import BadRequest

if TYPE_CHECKING:
    from kvstore.client import AsyncClient


@group(short_help="Show and change the replicated settings.")
def settings() -> None:
    """Show and change the replicated settings: bounds that all nodes of a cluster apply alike."""


@settings.command("list", short_help="Show them.")
@global_options
def list_() -> None:
    """Show the settings that can be changed, with their bounds."""
    _show(run_with_client(lambda client: client.settings()))


@settings.command("set", short_help="Change one.")
@click.argument("name", shell_complete=completing.replicated)
@click.argument("value", type=click.IntRange(1, limits.REVISION_MAX))
@global_options
def set_(name: str, value: int) -> None:
    """Give the setting NAME another VALUE, on all nodes at once.

    Refused (exit code 4) while a member runs a version that does not know how to.
    """
    told = run_with_client(lambda client: _change(client, name, value))
    if chosen().output is Mode.JSON:
        _show(told)
    else:
        output.message(f"{name} is {told['settings'][name]['value']} now")


async def _change(client: "AsyncClient", name: str, value: int) -> dict[str, Any]:
    try:
        return await client.change_setting(name, value)
    except BadRequest as refused:
        known = (await client.settings())["settings"]
        if name not in known and (meant := did_you_mean(name, known)):
            refused.add_note(meant.strip())
        raise


def _show(told: dict[str, Any]) -> None:
    mode = chosen().output
    if mode is Mode.JSON:
        output.write_json(told)
        return
    rows = [
        [name, str(each["value"]), each["unit"], f"{each['min']} to {each['max']}"]
        for name, each in told["settings"].items()
    ]
    output.write_rows(["NAME", "VALUE", "UNIT", "BOUNDS"], rows, mode)

"""`kv settings`: values that all nodes share, and that can be changed while they run."""

from typing import Any

import click

from kvcli import output
from kvcli.options import global_options, run_with_client
from kvcli.options import settings as chosen
from kvcli.output import Mode
from kvstore import limits


@click.group(short_help="Show and change the replicated settings.")
def settings() -> None:
    """Show and change the replicated settings: bounds that all nodes of a cluster apply alike."""


@settings.command("list", short_help="Show them.")
@global_options
def list_() -> None:
    """Show the settings that can be changed, with their bounds."""
    _show(run_with_client(lambda client: client.settings()))


@settings.command("set", short_help="Change one.")
@click.argument("name")
@click.argument("value", type=click.IntRange(1, limits.REVISION_MAX))
@global_options
def set_(name: str, value: int) -> None:
    """Give the setting NAME another VALUE, on all nodes at once.

    Refused (exit code 4) while a member runs a version that does not know how to.
    """
    told = run_with_client(lambda client: client.change_setting(name, value))
    if chosen().output is Mode.JSON:
        _show(told)
    else:
        output.message(f"{name} is {told['settings'][name]['value']} now")


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

"""`kv serve`: runs one node. Its flags are made from the table of settings in kvstore.config."""

import os
from collections.abc import Callable
from typing import Any

import click

from kvstore.config import SETTINGS, Setting, load


def _flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    default = "" if setting.default in ("", (), False) or setting.secret else f"; default: {_shown(setting)}"
    text = f"{setting.help} [env: {setting.env}{default}]"
    # No default is given to click: it must stay visible what was given, and what only has its default.
    if setting.is_switch:
        return click.option(setting.flag, setting.name, is_flag=True, default=None, help=text)
    return click.option(
        setting.flag, setting.name, metavar=setting.kind, multiple=setting.repeatable, default=None, help=text
    )


def _shown(setting: Setting) -> str:
    if setting.unit == "bytes" and isinstance(setting.default, int):
        return f"{setting.default >> 20}MiB"
    return f"{setting.default} {setting.unit}".rstrip()


@click.command(short_help="Run a node.")
@_flags
@click.option("--config", "config_path", metavar="FILE", help="TOML file with a [serve] table. [env: KV_CONFIG]")
def serve(config_path: str | None, **flags: Any) -> int:
    """Run a node until SIGINT or SIGTERM. Without options: a cluster of one, its data in ./kv-data.

    Nothing is written to standard output; the log goes to standard error. Each setting is taken from its flag, its
    variable, the file, or its default, in this order.
    """
    config = load(flags, os.environ, config_path)
    from kvstore.server import run

    return run(config)

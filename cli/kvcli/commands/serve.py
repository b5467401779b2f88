"""`kv serve`: runs one node. Its flags are made from the table of settings in kvstore.config."""

import os
from typing import Any

import click

from kvcli.setting_flags import setting_flags
from kvstore.config import load


@click.command(short_help="Run a node.")
@setting_flags()
def serve(config_path: str | None, **flags: Any) -> int:
    """Run a node until SIGINT or SIGTERM. Without options: a cluster of one, its data in ./kv-data.

    Nothing is written to standard output; the log goes to standard error. Each setting is taken from its flag, its
    variable, the file, or its default, in this order.
    """
    config = load(flags, os.environ, config_path)
    from kvstore.server import run

    return run(config)

"""`kv serve`: runs one node. Its flags are made from the table of settings in kvstore.config."""

import os
import textwrap
from typing import Any, Final

import click

from kvcli.pages import Command, command, own_options
from kvcli.setting_flags import setting_flags
from kvstore.config import load

# What somebody needs who starts a first cluster; a screen holds no more.
_FIRST: Final = (
    "--name",
    "--data-dir",
    "--listen",
    "--listen-peer",
    "--peer",
    "--join",
    "--insecure-bind",
    "--tls-cert",
    "--config",
    "--help",
)


class _Serve(Command):
    """Explains the first settings, and names the others."""

    def write_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = own_options(self, ctx)
        with formatter.section("Options"):
            formatter.write_dl([row for row in rows if any(word in _FIRST for word in row[0].replace(",", "").split())])
        others = [flag for name, _ in rows if (flag := name.split()[0]) not in _FIRST and flag != "-h,"]
        more = f"More settings, which 'kv help settings' explains: {', '.join(others)}"
        formatter.write_paragraph()
        formatter.write("\n".join(textwrap.wrap(more, formatter.width, break_on_hyphens=False)) + "\n")


@command(cls=_Serve, short_help="Run a node.")
@setting_flags()
def serve(config_path: str | None, **flags: Any) -> int:
    """Run a node until SIGINT or SIGTERM. Without options: a cluster of one, its data in ./kv-data.

    Nothing is written to standard output; the log goes to standard error. Each setting is taken from its flag, its
    variable, the file, or its default, in this order.
    """
    config = load(flags, os.environ, config_path)
    from kvstore.server import run

    return run(config)

"""Settings of a node: one table, from which flags, environment, configuration file and documentation are made.

`SETTINGS` is the table. `load` reads it from the four sources, flag > environment > file > default, and returns a
frozen `ServerConfig` that has been checked as a whole. `render_markdown` writes docs/configuration.md; the tests fail
when that page and this table differ. To write it anew: `python -m kvstore.config > docs/configuration.md`.

Nothing here decides the result of a command: what the state machine reads is replicated, never configured on one node.
"""

from kvstore.config.loading import ConfigError, ServerConfig, load, load_some
from kvstore.config.page import render_markdown
from kvstore.config.settings import SETTINGS, Setting
from kvstore.config.values import NAME, Address, parse_address, parse_name

__all__ = [
    "NAME",
    "SETTINGS",
    "Address",
    "ConfigError",
    "ServerConfig",
    "Setting",
    "load",
    "load_some",
    "parse_address",
    "parse_name",
    "render_markdown",
]

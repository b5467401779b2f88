"""What a file says for the options that every command has: the table `[client]` of the TOML file that KV_CONFIG names,
the same file in which `kv serve` finds its `[serve]`.

    [client]
    endpoints = ["https://kv1.example:8480", "https://kv2.example:8480"]
    cacert = "/etc/kv/ca.pem"

A flag or a variable goes before it.
"""

import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import click

from kvcli.suggest import did_you_mean

VARIABLE: Final = "KV_CONFIG"
TABLE: Final = "client"
NAMES: Final = ("endpoints", "output", "timeout", "cacert", "cert", "key")


def lookup(name: str) -> tuple[str, str | None]:
    """Where the value stands, and the value as it would be written in a variable; None if there is none.

    Raises click.UsageError for a file that cannot be used.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return "", None
    return f"{path}: {TABLE}.{name}", _read(path).get(name)


@lru_cache(maxsize=1)
def _read(path: str) -> Mapping[str, str]:
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as failed:
        raise click.UsageError(f"{path}: {failed.strerror or failed}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise click.UsageError(f"{path}: not TOML: {wrong}") from None
    table = document.get(TABLE, {})
    if not isinstance(table, dict):
        raise click.UsageError(f"{path}: {TABLE} is not a table")
    found: dict[str, str] = {}
    for key, value in table.items():
        if key not in NAMES:
            meant = did_you_mean(key, NAMES)
            raise click.UsageError(f"{path}: no such setting: {TABLE}.{key}; there are {', '.join(NAMES)}.{meant}")
        found[key] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return found

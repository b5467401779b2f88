"""The keys by which a command reads what a node has encrypted."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kvstore.config import load_some

if TYPE_CHECKING:
    from kvstore.vault.envelope import Vault

KEY_SETTINGS: Final = ("encryption_key_file", "encryption_key_command")


def vault_of(flags: Mapping[str, Any], config_path: str | None) -> "Vault":
    """The keys that flags, variables and file name; none, if they name none. Raises BadKeys and ConfigError."""
    from kvstore.vault.envelope import NO_KEYS, Vault
    from kvstore.vault.keys import KeySource

    source = KeySource(*load_some(KEY_SETTINGS, flags, os.environ, config_path).values())
    return Vault(source.load()) if source else NO_KEYS

"""Chance, where it makes a secret."""

import secrets

from kvstore import limits


def signing_key() -> bytes:
    """A new key that signs tokens."""
    return secrets.token_bytes(limits.SIGNING_KEY_BYTES)

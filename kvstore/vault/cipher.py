"""AES-256-GCM: the one file that knows the library `cryptography`, an optional extra."""

from functools import cache
from importlib.util import find_spec
from typing import Any, Final

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class BrokenSeal(Exception):
    """What is to be opened was not sealed with this key, this nonce and this context, or has changed since."""


def installed() -> bool:
    """Whether the library is there."""
    return find_spec("cryptography") is not None


@cache
def _library() -> tuple[Any, type[Exception]]:
    # Imported when it is needed: it is not small, and most nodes have no use for it.
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag


class Cipher:
    """One key of 32 bytes. A nonce of 12 bytes must never be used twice to seal."""

    __slots__ = ("_aead", "_invalid")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a key is 32 bytes")
        aead, self._invalid = _library()
        self._aead = aead(key)

    def seal(self, nonce: bytes, plain: bytes, context: bytes) -> bytes:
        """`plain`, encrypted, and 16 bytes behind it that vouch for it and for `context`."""
        sealed: bytes = self._aead.encrypt(nonce, plain, context)
        return sealed

    def open(self, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
        """What was sealed. Raises BrokenSeal."""
        try:
            plain: bytes = self._aead.decrypt(nonce, sealed, context)
        except (self._invalid, ValueError):
            raise BrokenSeal from None
        return plain

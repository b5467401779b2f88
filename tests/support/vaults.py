"""Keys for tests: made from their numbers, so that two vaults with the same numbers can read each other's files."""

import base64
import hashlib

from kvstore.vault.envelope import Vault
from kvstore.vault.keys import KeyRing


def key(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=32).digest()


def ring(*numbers: int, active: int | None = None) -> KeyRing:
    """The first is the active one, unless told otherwise."""
    return KeyRing(numbers[0] if active is None else active, {number: key(number) for number in numbers})


def vault(*numbers: int, active: int | None = None) -> Vault:
    return Vault(ring(*numbers, active=active))


def line(number: int) -> str:
    """As it stands in a key file."""
    return f"{number} {base64.b64encode(key(number)).decode()}\n"

"""Data keys: a random one for each file, wrapped by the master key that is active when the file is begun.

A wrapped key is

    fingerprint 8 | nonce 12 | AES-256-GCM(master key, nonce, data key, context) 48

`context` is what the file's header says besides; the number of the master key is part of that.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Final

from kvstore.errors import CorruptData, LocalError
from kvstore.vault.cipher import KEY_BYTES, NONCE_BYTES, TAG_BYTES, BrokenSeal, Cipher
from kvstore.vault.keys import PLAIN, KeyRing

_FINGERPRINT_BYTES: Final = 8
WRAPPED_BYTES: Final = _FINGERPRINT_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES
_CHANGED: Final = (
    "Somebody has changed it: the key is the right one, and the header's checksum was made to fit. Put back a good "
    "copy of the file, or replace this member by a new one."
)


class WrongKey(LocalError):
    """A file is encrypted with a key that is not at hand, or not under that number. Nothing was read of it, and nothing
    was changed. `key_id`: the number of the key that is needed.
    """

    exit_code = 7

    def __init__(self, path: str, key_id: int, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.key_id = key_id


class Vault:
    """The keys of a node, by which files are begun and opened. Without any: `NO_KEYS`. May be used by all threads."""

    def __init__(self, ring: KeyRing, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._ring = ring
        self._entropy = entropy
        self.has_keys = bool(ring.keys)
        """Whether files may be encrypted, now or later."""

    @property
    def active(self) -> int:
        """Number of the key for new files; PLAIN: they are written in clear."""
        return self._ring.active

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of all keys."""
        return tuple(sorted(self._ring.keys))

    def replace(self, ring: KeyRing) -> None:
        """Use these keys from now on."""
        self._ring = ring

    def changed(self, ring: KeyRing) -> tuple[int, ...]:
        """Numbers under which `ring` has another key than is here."""
        return tuple(sorted(n for n, key in ring.keys.items() if self._ring.keys.get(n, key) != key))

    def wrap(self, key_id: int, context: bytes) -> tuple[bytes, Cipher]:
        """A new data key for a file, wrapped by the key with this number, which was `active` a moment ago."""
        master = self._ring.keys[key_id]
        data_key, nonce = self._entropy(KEY_BYTES), self._entropy(NONCE_BYTES)
        wrapped = Cipher(master).seal(nonce, data_key, context)
        return _fingerprint(master) + nonce + wrapped, Cipher(data_key)

    def unwrap(self, path: str, key_id: int, wrapped: bytes, context: bytes) -> Cipher:
        """The data key of the file at `path`. Raises WrongKey, and CorruptData if `context` or `wrapped` was changed by
        somebody who took care of the checksums.
        """
        master = self._ring.keys.get(key_id)
        if master is None:
            given = f"only {_listed(self.numbers)} are there" if self.numbers else "no keys were given"
            raise WrongKey(
                path,
                key_id,
                f"it is encrypted with key {key_id}, and {given}. Give that key by --encryption-key-file or "
                "--encryption-key-command",
            )
        if not hmac.compare_digest(wrapped[:_FINGERPRINT_BYTES], _fingerprint(master)):
            raise WrongKey(
                path, key_id, f"it is encrypted with another key {key_id} than the one that was given under that number"
            )
        nonce = wrapped[_FINGERPRINT_BYTES : _FINGERPRINT_BYTES + NONCE_BYTES]
        try:
            return Cipher(Cipher(master).open(nonce, wrapped[_FINGERPRINT_BYTES + NONCE_BYTES :], context))
        except (BrokenSeal, ValueError):
            problem = f"the header is not as it was when key {key_id} sealed it"
            raise CorruptData(path, 0, problem, _CHANGED) from None


def _fingerprint(master: bytes) -> bytes:
    return hashlib.blake2b(b"kvstore", digest_size=_FINGERPRINT_BYTES, key=master, person=b"kv-at-rest").digest()


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in numbers)


NO_KEYS: Final = Vault(KeyRing(PLAIN, {}))

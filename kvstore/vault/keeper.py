"""The keys of a node while it runs: the key file is looked at every few seconds, by content, and at once when asked;
the key command is run only when asked. Keys that cannot be used, or that lack one that a file still needs, change
nothing but a counter and the log: those that were good stay.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping

import structlog

from kvstore import limits
from kvstore.looking import Looking
from kvstore.vault.envelope import Vault
from kvstore.vault.keys import BadKeys, KeyRing, KeySource

_log = structlog.get_logger("kvstore.vault")


def open_vault(source: KeySource) -> tuple[Vault, bytes]:
    """A vault with the keys as they are now, and the digest of what was read. Blocks. Raises BadKeys."""
    content = source.read()
    return Vault(source.parse(content)), _digest(content)


class KeyKeeper(Looking):
    """Of one node. `in_use`: how many files there are by each key; `rotated` is called when another key is active;
    `told` gets what is wrong with the keys as they are given now, None if nothing is.
    """

    def __init__(
        self,
        source: KeySource,
        vault: Vault,
        digest: bytes,
        in_use: Callable[[], Mapping[int, int]],
        rotated: Callable[[], None],
        told: Callable[[str | None], None],
        *,
        check_s: float = limits.ENCRYPTION_KEYS_CHECK_S,
    ) -> None:
        super().__init__(check_s if source.file else None)
        self.reloads = {"ok": 0, "failed": 0}
        self._source = source
        self._vault = vault
        self._in_use = in_use
        self._rotated = rotated
        self._told = told
        self._now = digest
        self._refused = b""

    def look_now(self) -> None:
        """Do not wait for the next time."""
        _log.info("encryption_keys_looked_at")
        super().look_now()

    async def look(self) -> None:
        digest = b"unreadable"
        try:
            content = await asyncio.to_thread(self._source.read)
            digest = _digest(content)
            if digest == self._now:
                if self._refused:
                    self._refused = b""
                    self._told(None)
                return
            ring = await asyncio.to_thread(self._source.parse, content)
            self._check(ring)
        except BadKeys as wrong:
            if digest != self._refused:
                self._refused = digest
                self.reloads["failed"] += 1
                self._told(f"the node goes on with the keys that it had; a start would be refused: {wrong}")
                _log.error("encryption_keys_not_reloaded", problem=str(wrong), kept=list(self._vault.numbers))
            return
        before = self._vault.active
        self._vault.replace(ring)
        self._now, self._refused = digest, b""
        self.reloads["ok"] += 1
        self._told(None)
        _log.info("encryption_keys_reloaded", keys=list(self._vault.numbers), active=ring.active, before=before)
        if ring.active != before:
            self._rotated()

    def _check(self, ring: KeyRing) -> None:
        missing = sorted(
            number for number, files in self._in_use().items() if number and files and number not in ring.keys
        )
        if missing:
            told = ", ".join(str(number) for number in missing)
            raise BadKeys(f"files of this node still need what is not there any more: key {told}")
        changed = self._vault.changed(ring)
        if changed:
            told = ", ".join(str(number) for number in changed)
            raise BadKeys(f"there is another key under the number of an old one: {told}; give it a number of its own")


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()

"""The file with the keys of others' tokens: a key set in JSON (RFC 7517), `{"keys": [{"kid", "alg", "kty", ...}]}`.

It is looked at once a second at most, when a token is shown, and read anew when it has changed: so keys are added and
taken away without a restart, and several are good at a time. A file that cannot be used any more changes nothing, and
is complained of: what it had said holds on.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from kvstore import limits
from kvstore.errors import LocalError
from kvstore.security.jwt_tokens import BadKey, Key, key_of

log = structlog.get_logger("kvstore.auth")


class BadKeyFile(LocalError):
    """A file of keys that cannot be used."""

    exit_code = 7


class KeyFile:
    """The keys of the file at `path`; `generation` rises whenever they are other ones. Raises BadKeyFile."""

    def __init__(self, path: str, now: Callable[[], float]) -> None:
        self.generation = 0
        self.keys: Mapping[str, Key] = {}
        self._path = path
        self._now = now
        self._looked_at = now()
        self._seen = self._marks()
        self.keys = parse(self._read())

    def look(self) -> int:
        """The generation, once the file has been looked at, if it was not within the last second."""
        if self._now() - self._looked_at < limits.TOKEN_KEYS_LOOK_S:
            return self.generation
        self._looked_at = self._now()
        try:
            marks = self._marks()
            if marks != self._seen:
                self._seen = marks
                self.keys = parse(self._read())
                self.generation += 1
                log.info("token_keys_read", file=self._path, keys=sorted(self.keys))
        except BadKeyFile as wrong:
            log.error("token_keys_kept", file=self._path, error=str(wrong))
        return self.generation

    def _marks(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self._path)
        except OSError as failed:
            self._seen = (0, 0, 0)
            raise BadKeyFile(f"{self._path}: {failed.strerror}") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return file.read(limits.TOKEN_KEYS_FILE_BYTES_MAX + 1)
        except OSError as failed:
            raise BadKeyFile(f"{self._path}: {failed.strerror}") from None


def parse(data: bytes) -> dict[str, Key]:
    """The keys of a key set, by their ids. Raises BadKeyFile."""
    try:
        if len(data) > limits.TOKEN_KEYS_FILE_BYTES_MAX:
            raise BadKey(f"there is more than {limits.TOKEN_KEYS_FILE_BYTES_MAX} bytes of it")
        described: Any = json.loads(data)
        rows = described.get("keys") if isinstance(described, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadKey('it is not of the form {"keys": [{...}]}')
        if len(rows) > limits.TOKEN_KEYS_MAX:
            raise BadKey(f"it has more than {limits.TOKEN_KEYS_MAX} keys")
        keys: dict[str, Key] = {}
        for row in rows:
            kid = row.get("kid")
            if not isinstance(kid, str) or not kid or kid in keys:
                raise BadKey("each key has a kid of its own")
            keys[kid] = key_of(row)
    except (BadKey, ValueError, RecursionError) as wrong:
        # Of JSON that is none, the text of the error shows nothing but a place.
        raise BadKeyFile(f"the keys of tokens cannot be used: {wrong}") from None
    return keys

"""Cursors of SCAN. A place between keys is a key, and clients take a cursor to be a number: the node keeps a table."""

import secrets
from collections import OrderedDict

from kvstore import limits
from kvstore.redis.problems import CommandError


class Cursors:
    """The last few cursors that were given out, to whichever connection."""

    def __init__(self) -> None:
        self._keys: OrderedDict[int, bytes] = OrderedDict()

    def after(self, key: bytes | None) -> bytes:
        """A cursor for what stands behind `key`, 0 for nothing."""
        if key is None:
            return b"0"
        number = secrets.randbelow((1 << 62) - 1) + 1
        self._keys[number] = key
        if len(self._keys) > limits.REDIS_SCAN_CURSORS_MAX:
            self._keys.popitem(last=False)
        return b"%d" % number

    def key_of(self, cursor: bytes) -> bytes | None:
        """Behind which key to go on, None from the beginning. Raises CommandError."""
        if cursor == b"0":
            return None
        if cursor.isdigit() and len(cursor) <= 20 and (key := self._keys.get(int(cursor))) is not None:
            return key
        raise CommandError("invalid cursor: this node did not give it, or too long ago")

"""Passwords: records that can be kept, and their checking.

A record is `1, log2 N, r, p, salt (16), hash (32)`: scrypt (RFC 7914) with its costs beside it, so that they can rise
later. Hashing takes tens of milliseconds and 16 MiB on purpose; it is done in a few threads, and what waits for them is
bounded.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from struct import Struct
from typing import Final, TypeVar

from kvstore import limits
from kvstore.errors import BadRequest, Overloaded

T = TypeVar("T")

_VERSION: Final = 1
_LOG2_N: Final = 14
_R: Final = 8
_P: Final = 1
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_FORM: Final = Struct(f"<BBBB{_SALT_BYTES}s{_HASH_BYTES}s")
# What is checked where there is no such user, so that it takes as long.
_NOBODY: Final = _FORM.pack(_VERSION, _LOG2_N, _R, _P, bytes(_SALT_BYTES), bytes(_HASH_BYTES))


def record_of(password: str) -> bytes:
    """A new record of `password`. Slow. Raises BadRequest for one that is too short or too long."""
    data = password.encode()
    if not limits.PASSWORD_BYTES_MIN <= len(data) <= limits.PASSWORD_BYTES_MAX:
        raise BadRequest(f"a password has {limits.PASSWORD_BYTES_MIN} to {limits.PASSWORD_BYTES_MAX} bytes")
    salt = secrets.token_bytes(_SALT_BYTES)
    return _FORM.pack(_VERSION, _LOG2_N, _R, _P, salt, _hash(data, salt, _LOG2_N, _R, _P))


def is_of(record: bytes, password: str) -> bool:
    """Whether `record` is one of `password`; an empty one is of none. Slow, whatever it is."""
    data = password.encode("utf-8", "surrogatepass")[: limits.PASSWORD_BYTES_MAX + 1]
    there = len(record) == _FORM.size and record[0] == _VERSION
    _, log2_n, r, p, salt, expected = _FORM.unpack(record if there else _NOBODY)
    return hmac.compare_digest(_hash(data, salt, log2_n, r, p), expected) and there


def _hash(data: bytes, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    n = 1 << log2_n
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_HASH_BYTES)


class Passwords:
    """The same off the loop, a few at a time."""

    def __init__(self) -> None:
        self._workers: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def record_of(self, password: str) -> bytes:
        """See the function. Raises Overloaded, too."""
        return await self._run(lambda: record_of(password))

    async def is_of(self, record: bytes, password: str) -> bool:
        """See the function. Raises Overloaded."""
        return await self._run(lambda: is_of(record, password))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= limits.PASSWORDS_WAITING_MAX:
            raise Overloaded("too many passwords are being checked already", retry_after_s=1.0)
        if self._workers is None:
            self._workers = ThreadPoolExecutor(limits.PASSWORD_WORKERS_MAX, thread_name_prefix="password")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """No more."""
        if self._workers is not None:
            self._workers.shutdown(wait=False, cancel_futures=True)

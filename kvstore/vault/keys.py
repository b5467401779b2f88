"""The keys of a node, as its operator gives them: a file that only its owner may read, or what a command prints.

    # number, key (32 bytes in base64); the first line is the active one, with which new files are written
    20261130 mZ0kq3rG...=
    20250601 0b5QyO7D...=

A line `plain` in the first place instead: new files are written in clear, and the keys are there to read old ones.
No message of this module, and no `repr`, ever has a key in it.
"""

import base64
import binascii
import os
import re
import shlex
import signal
import stat
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NamedTuple

from kvstore import limits
from kvstore.errors import LocalError
from kvstore.vault.cipher import KEY_BYTES, installed

PLAIN: Final = 0
"""Stands for "no key" where the number of a key is expected."""

_PLAIN_WORD: Final = b"plain"
_NUMBER: Final = re.compile(rb"[1-9][0-9]{0,9}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{43}=")
_KEY_MAX: Final = (1 << 32) - 1
_BYTES_MAX: Final = limits.ENCRYPTION_KEYS_BYTES_MAX
_EXTRA: Final = "encryption needs the library cryptography: pip install 'kvstore[encryption]'"


class BadKeys(LocalError):
    """The key file or the key command cannot be used; says why."""

    exit_code = 7


class KeyRing:
    """Keys by their numbers; `active` is the number of the one for new files, or PLAIN."""

    __slots__ = ("active", "keys")

    def __init__(self, active: int, keys: Mapping[int, bytes]) -> None:
        self.active = active
        self.keys = MappingProxyType(dict(keys))

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active}, numbers={sorted(self.keys)})"


class KeySource(NamedTuple):
    """Where the keys are: in `file`, or printed by `command`; nowhere, if both are empty."""

    file: str = ""
    command: str = ""

    def __bool__(self) -> bool:
        return bool(self.file or self.command)

    def read(self) -> bytes:
        """What stands there now. Blocks. Raises BadKeys."""
        return _of_file(self.file) if self.file else _of_command(self.command)

    def load(self) -> KeyRing:
        """The keys as they are now. Blocks. Raises BadKeys."""
        return self.parse(self.read())

    def parse(self, content: bytes) -> KeyRing:
        """The keys in what was read. Raises BadKeys."""
        if not installed():
            raise BadKeys(_EXTRA)
        return _parse(content, self.file or "the output of the key command")


def _of_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise BadKeys(f"{path} is not a regular file")
            if about.st_mode & 0o077:
                raise BadKeys(f"{path} holds keys, and others than its owner may use it: chmod 600 {path}")
            content = file.read(_BYTES_MAX + 1)
    except OSError as failed:
        raise BadKeys(f"the key file {path} cannot be read: {failed.strerror or failed}") from None
    if len(content) > _BYTES_MAX:
        raise BadKeys(f"{path} is longer than {_BYTES_MAX} bytes")
    return content


def _of_command(command: str) -> bytes:
    """What `command` prints. It runs without a shell, for a bounded time, and what it says otherwise is not caught."""
    try:
        words = shlex.split(command)
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, close_fds=True
        )
    except (OSError, ValueError, IndexError) as failed:
        raise BadKeys(f"the key command cannot be started: {failed}") from None
    late = threading.Timer(limits.ENCRYPTION_KEY_COMMAND_S_MAX, _kill, (process.pid,))
    late.daemon = True
    late.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            content = process.stdout.read(_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            _kill(process.pid)
            raise BadKeys(f"the key command printed more than {_BYTES_MAX} bytes")
        status = process.wait()
    finally:
        late.cancel()
        with suppress(ProcessLookupError):
            if process.poll() is None:
                _kill(process.pid)
                process.wait()
    if status != 0:
        how = f"status {status}" if status > 0 else f"signal {-status}"
        raise BadKeys(f"the key command ended with {how} (it has {limits.ENCRYPTION_KEY_COMMAND_S_MAX:.0f} s)")
    return content


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _parse(content: bytes, where: str) -> KeyRing:
    """A line that cannot be used is named by its number only: it may hold a key."""
    active: int | None = None
    keys: dict[int, bytes] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split(b"#", 1)[0].split()
        if not words:
            continue
        if words == [_PLAIN_WORD]:
            if active is not None:
                raise BadKeys(f"{where}, line {number}: `plain` stands in the first place or nowhere")
            active = PLAIN
            continue
        key_id, key = _key(words, f"{where}, line {number}")
        if key_id in keys or key in keys.values():
            raise BadKeys(f"{where}, line {number}: key {key_id} is there twice")
        active = key_id if active is None else active
        keys[key_id] = key
        if len(keys) > limits.ENCRYPTION_KEYS_MAX:
            raise BadKeys(f"{where} has more than {limits.ENCRYPTION_KEYS_MAX} keys")
    if active is None or not keys:
        raise BadKeys(f"{where} has no key in it; a line is a number and 32 bytes in base64")
    return KeyRing(active, keys)


def _key(words: list[bytes], line: str) -> tuple[int, bytes]:
    if len(words) != 2 or not _NUMBER.fullmatch(words[0]) or int(words[0]) > _KEY_MAX:
        raise BadKeys(f"{line}: not a number from 1 to {_KEY_MAX}, a space, and 32 bytes in base64")
    if not _BASE64.fullmatch(words[1]):
        raise BadKeys(f"{line}: key {int(words[0])} is not 32 bytes in base64")
    try:
        key = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES or not any(key):
        raise BadKeys(f"{line}: key {int(words[0])} is not 32 random bytes in base64")
    return int(words[0]), key

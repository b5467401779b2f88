"""Who asks: a token, or a user and a password, from the environment, from files, or typed. Never from an argument,
which every process on the machine can read.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import click

_FILE_BYTES_MAX: Final = 8_192


class Credentials(NamedTuple):
    """`token`, or `user` and `password`; or nothing at all."""

    token: str | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


# Passwords that were typed or read, while a shell runs: it asks once. None: nothing is remembered.
_remembered: dict[tuple[str, str | None], str] | None = None


@contextmanager
def remembering() -> Iterator[None]:
    """Commands that run inside ask for a password once."""
    global _remembered
    _remembered = {}
    try:
        yield
    finally:
        _remembered = None


def unasked(user: str | None, token_file: str | None, password_file: str | None) -> Credentials:
    """What is known without a prompt, and without standard input; nothing else. Raises click.UsageError."""
    if user is None:
        return Credentials() if token_file == "-" else credentials(None, token_file, None)
    if (known := (_remembered or {}).get((user, password_file))) is not None:
        return Credentials(None, user, known)
    if password_file not in (None, "-") or os.environ.get("KV_PASSWORD"):
        return credentials(user, None, password_file)
    return Credentials()


def credentials(user: str | None, token_file: str | None, password_file: str | None) -> Credentials:
    """What the options and the environment say. A user without a password is asked for it, on a terminal."""
    token = os.environ.get("KV_TOKEN") or None
    if token_file:
        token = read_secret(token_file, "--token-file")
    if user is None:
        return Credentials(token)
    password = (_remembered or {}).get((user, password_file)) or password_of(user, password_file)
    if _remembered is not None:
        _remembered[user, password_file] = password
    return Credentials(None, user, password)


def password_of(user: str, password_file: str | None) -> str:
    """The password of `user`: from a file, from KV_PASSWORD, or typed. Raises click.UsageError."""
    if password_file:
        return read_secret(password_file, "--password-file")
    if from_environment := os.environ.get("KV_PASSWORD"):
        return from_environment
    if not sys.stdin.isatty():
        raise click.UsageError("give the password in KV_PASSWORD, or name a file with --password-file (- for stdin)")
    return str(click.prompt(f"Password of {user}", hide_input=True, err=True))


def new_password(user: str, password_file: str | None) -> str:
    """A password to be set: from a file, from KV_NEW_PASSWORD, or typed twice. Raises click.UsageError."""
    if password_file:
        return read_secret(password_file, "--new-password-file")
    if from_environment := os.environ.get("KV_NEW_PASSWORD"):
        return from_environment
    if not sys.stdin.isatty():
        raise click.UsageError(
            "give the new password in KV_NEW_PASSWORD, or name a file with --new-password-file (- for stdin)"
        )
    prompt = f"New password of {user}"
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))


def read_secret(file: str, option: str) -> str:
    """The first line of `file`, - for standard input. Raises click.UsageError."""
    if file == "-":
        data = sys.stdin.buffer.readline(_FILE_BYTES_MAX)
    else:
        try:
            with open(file, "rb") as opened:
                data = opened.readline(_FILE_BYTES_MAX)
        except OSError as failed:
            raise click.UsageError(f"{option}: {file}: {failed.strerror}") from failed
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.UsageError(f"{option}: {file} is not UTF-8") from None
    if not text:
        raise click.UsageError(f"{option}: the first line of {file} is empty")
    return text

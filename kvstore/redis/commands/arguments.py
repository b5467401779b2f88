"""Reading arguments: numbers, and options behind them."""

import re
from collections.abc import Iterator
from typing import Final

from kvstore import limits
from kvstore.redis.problems import CommandError, too_large

INTEGER_MAX: Final = (1 << 63) - 1
INTEGER_MIN: Final = -(1 << 63)

_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")


def integer(written: bytes) -> int:
    """A signed number of 64 bits, as Redis writes them. Raises CommandError."""
    if _INTEGER.fullmatch(written) is not None:
        value = int(written)
        if INTEGER_MIN <= value <= INTEGER_MAX:
            return value
    raise CommandError("value is not an integer or out of range")


def check_key(key: bytes) -> bytes:
    """`key`, if it can be one. Raises CommandError."""
    if not key:
        raise CommandError("a key has one byte at least")
    if len(key) > limits.KEY_BYTES_MAX:
        raise too_large(f"a key has {limits.KEY_BYTES_MAX:,} bytes at most")
    return key


def upper(argument: bytes) -> str:
    """An option's name; what is not ASCII becomes something that no option is called."""
    return argument.upper().decode("ascii", "replace")


def options(arguments: list[bytes], first: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The name of each option from `first` on, and an iterator that gives its values."""
    rest = iter(arguments[first:])
    for argument in rest:
        yield upper(argument), rest


def value_of(rest: Iterator[bytes]) -> bytes:
    """The value of an option. Raises CommandError."""
    for value in rest:
        return value
    raise CommandError("syntax error")

"""Replies as bytes, in RESP2 and RESP3 (https://redis.io/docs/latest/develop/reference/protocol-spec/). Pure.

A reply is made of plain values: bytes and str (bulk strings), int, None, list, dict; and of these:

    Simple      a status, such as OK
    Error       an error; its first word says which (kvstore.redis.problems)
    Push        what a subscriber is told; in RESP2 it is an array
    NIL_ARRAY   no array, where RESP2 has another nothing for it than None
"""

from typing import Any, Final

Reply = Any
"""Any of the above, nested."""

RESP2: Final = 2
RESP3: Final = 3


class Simple(bytes):
    """A status: one line without CR or LF."""

    __slots__ = ()


class Error(bytes):
    """An error: one line, whose first word is its prefix."""

    __slots__ = ()


class Push(list[Reply]):
    """Something that nobody asked for."""

    __slots__ = ()


class _NilArray:
    """The only one is NIL_ARRAY."""


class _NoReply:
    """The only one is NO_REPLY."""


NIL_ARRAY: Final = _NilArray()
NO_REPLY: Final = _NoReply()
"""All that there is to tell was pushed."""
OK: Final = Simple(b"OK")
QUEUED: Final = Simple(b"QUEUED")

OK_BYTES: Final = b"+OK\r\n"
NIL_BYTES: Final = {RESP2: b"$-1\r\n", RESP3: b"_\r\n"}

_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


def error(prefix: str, text: str) -> Error:
    """The error whose first word is `prefix`; line ends in it become blanks."""
    return Error(f"{prefix} {text}".encode(errors="backslashreplace").translate(_LINE_ENDS))


def bulk(value: bytes) -> bytes:
    """`value` as a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def encode(reply: Reply, protocol: int) -> bytes:
    """`reply` in RESP2 or RESP3."""
    parts: list[bytes] = []
    _encode(reply, protocol, parts)
    return b"".join(parts)


def _encode(reply: Reply, protocol: int, parts: list[bytes]) -> None:
    kind = type(reply)
    if kind is bytes:
        parts.append(bulk(reply))
    elif kind is int:
        parts.append(b":%d\r\n" % reply)
    elif kind is Simple:
        parts.append(b"+%b\r\n" % reply)
    elif kind is Error:
        parts.append(b"-%b\r\n" % reply)
    elif reply is None:
        parts.append(NIL_BYTES[protocol])
    elif reply is NIL_ARRAY:
        parts.append(b"*-1\r\n" if protocol == RESP2 else b"_\r\n")
    elif kind is str:
        parts.append(bulk(reply.encode()))
    elif kind is dict:
        parts.append((b"*%d\r\n" % (2 * len(reply))) if protocol == RESP2 else b"%%%d\r\n" % len(reply))
        for key, value in reply.items():
            _encode(key, protocol, parts)
            _encode(value, protocol, parts)
    elif kind is list or kind is tuple or kind is Push:
        mark = b">" if kind is Push and protocol == RESP3 else b"*"
        parts.append(b"%b%d\r\n" % (mark, len(reply)))
        for each in reply:
            _encode(each, protocol, parts)
    else:
        raise TypeError(f"{kind.__name__} is no reply")

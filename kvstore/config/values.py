"""How the value of a setting is read: from text (flag, environment) or from what TOML made of it (file).

Each parser takes either form and returns the typed value, or raises ValueError with a message that names the value and
what is expected; who calls it adds the setting and its source.
"""

import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kvstore import limits

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SIZE: Final = re.compile(r"(\d{1,18})\s*(|B|KiB|MiB|GiB)", re.IGNORECASE)
_SIZE_UNITS: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")


class Address(NamedTuple):
    """A TCP address; `host` without brackets. `str()` gives HOST:PORT, with brackets around an IPv6 address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach it. A name other than localhost is not looked up: False."""
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host.lower() == "localhost"
        mapped = getattr(ip, "ipv4_mapped", None)
        return bool((mapped or ip).is_loopback)


def parse_name(written: str) -> str:
    """A node's name: [a-z0-9][a-z0-9_.-]{0,63}. Raises ValueError that says so."""
    if len(written) > limits.NAME_CHARS_MAX or NAME.fullmatch(written) is None:
        raise ValueError(
            f"{written!r} is not a node name: 1 to {limits.NAME_CHARS_MAX} of a-z 0-9 _ . -, a letter or digit first"
        )
    return written


def parse_address(written: str, *, port_min: int = 1) -> Address:
    """HOST:PORT, [IPV6]:PORT. Raises ValueError that says what is wrong with `written`."""
    host, colon, port = written.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise ValueError(f"{written!r} is not HOST:PORT")
    if not port_min <= int(port) <= 65_535:
        raise ValueError(f"{written!r} has a port outside {port_min}..65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{written!r} has no IPv6 address between its brackets") from None
    elif ":" in host:
        raise ValueError(f"{written!r} is not HOST:PORT; an IPv6 address is written [::1]:PORT")
    elif not _is_host(host):
        raise ValueError(f"{written!r} has no host name or address before its port")
    return Address(host, int(port))


def _is_host(host: str) -> bool:
    labels = host.split(".")
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    return len(host) <= limits.HOST_CHARS_MAX and all(_HOST_LABEL.fullmatch(label) for label in labels)


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def directory(value: Any) -> str:
    """A path, not yet looked at."""
    path = text(value)
    if not path or "\0" in path:
        raise ValueError(f"{path!r} is not a directory")
    return path


def directory_or_none(value: Any) -> str:
    """A path, or nothing at all."""
    return directory(value) if value else ""


def file_or_none(value: Any) -> str:
    """The path of a file, not yet looked at, or nothing at all."""
    path = text(value)
    if "\0" in path:
        raise ValueError(f"{path!r} is not a file")
    return path


def command_or_none(value: Any) -> str:
    """A command with its arguments, quoted as a shell would have it, or nothing. The message does not show it."""
    try:
        words = shlex.split(text(value))
    except ValueError:
        words = []
    if (value and not words) or "\0" in value:
        raise ValueError("is not a command with its arguments")
    return text(value)


def name(value: Any) -> str:
    """A node's name."""
    return parse_name(text(value))


def address(value: Any) -> Address:
    """HOST:PORT with a port that others can be told."""
    return parse_address(text(value))


def address_or_any_port(value: Any) -> Address:
    """HOST:PORT; port 0 leaves the choice to the operating system."""
    return parse_address(text(value), port_min=0)


def address_or_none(value: Any) -> Address | None:
    """Likewise, or nothing at all."""
    return address_or_any_port(value) if value else None


def url(written: object) -> str:
    """http://HOST:PORT, or nothing at all. Raises ValueError."""
    text = str(written)
    if text and not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is not a URL like http://127.0.0.1:8480")
    return text


def token(value: Any) -> str:
    """Bounded printable text. It may be a secret of its owner: the message never shows it."""
    if len(text(value)) > limits.CLUSTER_TOKEN_CHARS_MAX or not value.isprintable():
        raise ValueError(f"is not at most {limits.CLUSTER_TOKEN_CHARS_MAX} printable characters")
    return text(value)


def words(known: Sequence[str]) -> Callable[[Any], tuple[str, ...]]:
    """Some of `known`, in a list or between commas; none is allowed."""

    def parse(value: Any) -> tuple[str, ...]:
        given = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            raise ValueError(f"{value!r} is not a list of words")
        found = tuple(each for each in given if each)
        if wrong := [each for each in found if each not in known]:
            raise ValueError(f"{wrong[0]!r} is none of {', '.join(known)}")
        return found

    return parse


def audience(value: Any) -> str:
    """Bounded printable text, not empty."""
    if not value or len(text(value)) > limits.CLUSTER_TOKEN_CHARS_MAX or not value.isprintable():
        raise ValueError(f"is not 1 to {limits.CLUSTER_TOKEN_CHARS_MAX} printable characters")
    return text(value)


def peers(value: Any) -> Mapping[str, Address]:
    """NAME=HOST:PORT, several of them in a list or between commas; sorted by name, read-only."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{value!r} is not a list of NAME=HOST:PORT")
    found: dict[str, Address] = {}
    for item in items:
        peer, equals, where = text(item).strip().partition("=")
        if not equals:
            raise ValueError(f"{item!r} is not NAME=HOST:PORT")
        if parse_name(peer) in found:
            raise ValueError(f"{peer} is named twice")
        found[peer] = parse_address(where)
    return MappingProxyType(dict(sorted(found.items())))


def switch(value: Any) -> bool:
    """True or false, also as the words people write for them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise ValueError(f"{value!r} is neither true nor false")


def whole(unit: str, low: int, high: int) -> Callable[[Any], int]:
    """Parser of whole numbers within `low`..`high`; with the unit bytes, text may end in KiB, MiB or GiB."""

    def parse(value: Any) -> int:
        if isinstance(value, str):
            sized = _SIZE.fullmatch(value.strip()) if value.isascii() else None
            if sized is None or (sized[2] and unit != "bytes"):
                raise ValueError(f"{value!r} is not a whole number of {unit}")
            value = int(sized[1]) * _SIZE_UNITS[sized[2].lower()]
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number of {unit}")
        if not low <= value <= high:
            raise ValueError(f"{value} is outside {low}..{high} {unit}")
        return value

    return parse


def one_of(*choices: str) -> Callable[[Any], str]:
    """Parser of one of a few words, in any case."""

    def parse(value: Any) -> str:
        word = text(value).lower()
        if word not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return word

    return parse

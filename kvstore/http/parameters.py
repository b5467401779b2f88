"""The parameters of a query: what each is called, what it may say, and how it is read.

What a route takes is written once, as a Query: its options are parsed by it, an unknown parameter is refused by it, and
`/openapi.json` names what it names. Pure functions.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from kvstore import limits
from kvstore.errors import BadRequest, KeyTooLong
from kvstore.model.levels import Level

_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
DIGITS: Final = re.compile(rb"[0-9]{1,19}")

Found = Mapping[str, bytes]
"""Parameters by name, decoded."""


class Parameter:
    """One parameter. `schema` is what JSON Schema can say of it."""

    def __init__(self, name: str, about: str, schema: dict[str, Any]) -> None:
        self.name = name
        self.about = about
        self.schema = schema


class Number(Parameter):
    """A whole number within bounds. `default` is what is taken where it is left out, None for nothing."""

    def __init__(self, name: str, least: int, most: int, about: str, *, default: int | None = None) -> None:
        bounds = {"type": "integer", "minimum": least, "maximum": most}
        super().__init__(name, about, bounds if default is None else bounds | {"default": default})
        self._least = least
        self._most = most

    def of(self, found: Found) -> int | None:
        """What it says. Raises BadRequest."""
        raw = found.get(self.name)
        if raw is None:
            return None
        if DIGITS.fullmatch(raw) is None or not self._least <= int(raw) <= self._most:
            raise BadRequest(f"{self.name} must be a whole number from {self._least} to {self._most}")
        return int(raw)


class Flag(Parameter):
    """True or false, which is what it is where it is left out."""

    def __init__(self, name: str, about: str) -> None:
        super().__init__(name, about, {"type": "boolean", "default": False})

    def of(self, found: Found) -> bool:
        """What it says. Raises BadRequest."""
        raw = found.get(self.name, b"false")
        if raw not in (b"true", b"false"):
            raise BadRequest(f"{self.name} must be true or false")
        return raw == b"true"


class Key(Parameter):
    """A key, or a bound between keys: any bytes, percent-encoded."""

    def __init__(self, name: str, about: str, *, bytes_min: int = 0) -> None:
        super().__init__(name, about, {"type": "string", "minLength": bytes_min, "maxLength": limits.KEY_BYTES_MAX})
        self._bytes_min = bytes_min

    def of(self, found: Found) -> bytes | None:
        """What it says. Raises BadRequest if it is too short, KeyTooLong."""
        raw = found.get(self.name)
        if raw is None:
            return None
        if len(raw) > limits.KEY_BYTES_MAX:
            raise KeyTooLong(f"{self.name} has more than {limits.KEY_BYTES_MAX} bytes")
        if len(raw) < self._bytes_min:
            raise BadRequest(f"{self.name} is empty; a key has at least one byte")
        return raw


class Opaque(Parameter):
    """Text that an answer has told, to be sent back as it was. `pattern`: what it looks like, with an example."""

    def __init__(self, name: str, chars_max: int, about: str, pattern: str = "", example: str = "") -> None:
        form = {"pattern": pattern, "examples": [example]} if pattern else {}
        super().__init__(name, about, {"type": "string", "minLength": 1, "maxLength": chars_max} | form)


class Levels(Parameter):
    """The level: one of `levels`. `why`: what is wrong with the others here."""

    def __init__(self, levels: tuple[Level, ...], about: str, why: str = "") -> None:
        names = [level.value for level in levels]
        super().__init__("level", about, {"type": "string", "enum": names, "default": Level.QUORUM.value})
        self._levels = {level.value.encode(): level for level in levels}
        self._why = why

    def of(self, found: Found) -> Level:
        """What it says. Raises BadRequest."""
        raw = found.get(self.name)
        if raw is None:
            return Level.QUORUM
        level = self._levels.get(raw)
        if level is not None:
            return level
        if self._why and raw in (each.value.encode() for each in Level):
            raise BadRequest(self._why)
        raise BadRequest(f"level must be one of {b', '.join(self._levels).decode()}, in lower case")


class Query:
    """What the query of a route may have."""

    def __init__(self, *parameters: Parameter) -> None:
        self.parameters = parameters
        self._names = frozenset(each.name for each in parameters)

    def found(self, query: str) -> dict[str, bytes]:
        """The parameters in `query`. Raises BadRequest for one that is unknown here, or given twice."""
        found: dict[str, bytes] = {}
        for part in query.split("&") if query else ():
            if not part:
                continue
            name, _, raw = part.partition("=")
            if name not in self._names:
                known = f"known here: {', '.join(sorted(self._names))}" if self._names else "none is known here"
                raise BadRequest(f"unknown parameter {name[:64]!a}; {known}")
            if name in found:
                raise BadRequest(f"the parameter {name} is given twice")
            # A plus sign is a space in a query, as every common client library writes it; in a path it is itself.
            found[name] = decoded(raw.replace("+", " "))
        return found


def decoded(raw: str) -> bytes:
    """What percent-encoded text means. Raises BadRequest."""
    if _BROKEN_ESCAPE.search(raw):
        raise BadRequest("broken percent-encoding: % must be followed by two hexadecimal digits")
    return unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))


# -- each parameter, and what the routes take

LEVEL: Final = Levels(tuple(Level), "How much durability a write waits for, or how fresh a read must be.")
READ_LEVEL: Final = Levels(
    (Level.ONE, Level.QUORUM),
    "How fresh the answer must be.",
    "ranges are read at level one or quorum; all compares replicas key by key",
)
SNAPSHOT_LEVEL: Final = Levels(
    (Level.ONE, Level.QUORUM),
    "What it has: all that was acknowledged before, or at one what the node has.",
    "a backup is taken at level one or quorum",
)
DELETE_LEVEL: Final = Levels(
    (Level.QUORUM, Level.ALL),
    "How much durability is waited for.",
    "a range is deleted at level quorum or all: at one, its node may not know the keys",
)
TXN_LEVEL: Final = Levels(
    (Level.QUORUM, Level.ALL),
    "How much durability is waited for.",
    "a transaction takes level quorum or all: at one, its node may not know the present values",
)
TIMEOUT_MS: Final = Number(
    "timeout_ms",
    1,
    limits.TIMEOUT_MS_MAX,
    "How long the answer may take, from the head of the request.",
    default=limits.TIMEOUT_MS_DEFAULT,
)
LEASE: Final = Number("lease", 1, limits.REVISION_MAX, "The lease with which the key ends; not at level one.")
MIN_REVISION: Final = Number("min_revision", 0, limits.REVISION_MAX, "Wait until this revision is reached.")
MAX_STALENESS_MS: Final = Number(
    "max_staleness_ms",
    0,
    limits.TIMEOUT_MS_MAX,
    "Level one only: wait until nothing lacks that was acknowledged longer ago.",
)
REVISION: Final = Number("revision", 0, limits.REVISION_MAX, "Read as it was at this revision; 0 is the empty store.")
PREFIX: Final = Key("prefix", "All keys that begin with it; instead of start and end.")
START: Final = Key("start", "The first key.")
END: Final = Key("end", "The first key that does not belong to it any more; an empty one is no end.")
LIMIT: Final = Number("limit", 1, limits.RANGE_LIMIT_MAX, "At most so many keys. A stream has no limit by itself.")
CURSOR: Final = Opaque("cursor", limits.CURSOR_CHARS_MAX, "Where the page before this one ended, as it told.")
REVERSE: Final = Flag("reverse", "From the last key to the first.")
KEYS_ONLY: Final = Flag("keys_only", "Leave the values out.")
COUNT_ONLY: Final = Flag("count_only", "Only count the keys.")
DRY_RUN: Final = Flag("dry_run", "Only count them.")
WATCHED_KEY: Final = Key("key", "This key; or else give prefix.", bytes_min=1)
WATCHED_PREFIX: Final = Key("prefix", "All keys that begin with it; an empty one is all.")
FROM: Final = Number("from", 1, limits.REVISION_MAX, "The first revision to be told; without it, the next one.")
PREVIOUS: Final = Flag("previous", "Tell the record before each change, too.")
FORCE: Final = Flag("force", "Also where acknowledged writes at level one may be lost with the member.")
TRACE_FROM: Final = Number("from", 1, limits.REVISION_MAX, "The number of the first event to be told.")
TRACE_LIMIT: Final = Number("limit", 1, limits.TRACE_EVENTS_MAX, "At most so many events.")

NOTHING: Final = Query()
TRACE: Final = Query(TRACE_FROM, TRACE_LIMIT)
TIMEOUT: Final = Query(TIMEOUT_MS)
WRITE: Final = Query(LEVEL, TIMEOUT_MS)
PUT: Final = Query(LEVEL, LEASE, TIMEOUT_MS)
READ: Final = Query(LEVEL, MIN_REVISION, MAX_STALENESS_MS, REVISION, TIMEOUT_MS)
RANGE: Final = Query(
    PREFIX, START, END, READ_LEVEL, LIMIT, CURSOR, REVERSE, KEYS_ONLY, COUNT_ONLY, REVISION, TIMEOUT_MS
)
SNAPSHOT: Final = Query(SNAPSHOT_LEVEL, TIMEOUT_MS)
RANGE_DELETE: Final = Query(PREFIX, START, END, DELETE_LEVEL, DRY_RUN, TIMEOUT_MS)
TXN: Final = Query(TXN_LEVEL, TIMEOUT_MS)
WATCH: Final = Query(WATCHED_KEY, WATCHED_PREFIX, FROM, PREVIOUS, TIMEOUT_MS)
REMOVAL: Final = Query(FORCE, TIMEOUT_MS)

"""Requests, taken apart: targets, keys, parameters, conditions, content types. Pure functions.

Nothing is ever guessed. A parameter that is unknown, given twice or out of bounds is an error, because a typing error
that is silently ignored (`?levle=all`) would weaken what the caller believes to have been promised. Messages never
repeat raw input, which may hold bytes that no text can.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from kvstore import limits
from kvstore.asking import REQUEST_ID
from kvstore.errors import BadRequest, KeyTooLong
from kvstore.http import parameters
from kvstore.http.parameters import DIGITS, Found, decoded
from kvstore.model.commands import MUST_BE_ABSENT, MUST_EXIST, Once
from kvstore.model.keys import prefix_end
from kvstore.model.levels import Level
from kvstore.model.stamp import Stamp

_LEVEL_NAMES: Final = frozenset(level.value for level in Level)

_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
ENTITY_TAG: Final = re.compile(r'"([1-9][0-9]{0,18})"')
SESSION: Final = re.compile(r"([1-9][0-9]{0,18})/([1-9][0-9]{0,18})/([1-9][0-9]{0,18})")
STAMP: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([a-z0-9][a-z0-9_.-]*)?\.([0-9]{1,18})")
# Revision and number of keys of the range.
_CURSOR: Final = Struct(">QQ")
_MEDIA_RANGE: Final = re.compile(r"\s*([^\s;/]+)/([^\s;/]+)\s*(?:;(.*))?")
_QUALITY: Final = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


class WriteOptions(NamedTuple):
    """What the query of a PUT or DELETE asks for."""

    level: Level
    timeout_s: float


class ReadOptions(NamedTuple):
    """What the query of a GET of one key asks for."""

    level: Level
    timeout_s: float
    min_revision: int | None
    max_staleness_s: float | None
    revision: int | None


class PutOptions(NamedTuple):
    """What the query of a PUT asks for. `lease` is 0 for none."""

    level: Level
    timeout_s: float
    lease: int


class RangeDeleteOptions(NamedTuple):
    """What the query of a range DELETE asks for."""

    level: Level
    timeout_s: float
    start: bytes
    end: bytes | None
    dry_run: bool


class WatchOptions(NamedTuple):
    """What the query of a watch asks for. `start` is its first revision, None for the next one."""

    key: bytes
    prefix: bool
    start: int | None
    previous: bool
    timeout_s: float


class Cursor(NamedTuple):
    """Where the next page begins: behind the key `after`, at `revision` (0: the present one, whatever it is then), in a
    range of `total` keys.
    """

    after: bytes
    revision: int
    total: int


class RangeOptions(NamedTuple):
    """What the query of a range GET asks for. `limit` is None when the query has none."""

    level: Level
    timeout_s: float
    start: bytes
    end: bytes | None
    limit: int | None
    cursor: Cursor | None
    reverse: bool
    keys_only: bool
    count_only: bool
    revision: int | None


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a raw request target, both still encoded; an absolute one loses scheme and authority."""
    if not target.startswith("/"):
        target = _ABSOLUTE.sub("", target, count=1) or "/"
    path, _, query = target.partition("?")
    return path, query


def key_of(raw: str) -> bytes:
    """The key that `raw`, the rest of the path, means: decoded once, never normalised."""
    key = decoded(raw) if "%" in raw else raw.encode("utf-8", "surrogateescape")
    if not key:
        raise BadRequest("the key is empty; a key has at least one byte")
    if len(key) > limits.KEY_BYTES_MAX:
        raise KeyTooLong(f"the key has {len(key)} bytes; at most {limits.KEY_BYTES_MAX} are allowed")
    return key


@lru_cache(maxsize=1_024)
def write_options(query: str) -> WriteOptions:
    """Options of a DELETE or a batch. Raises BadRequest."""
    found = parameters.WRITE.found(query)
    return WriteOptions(parameters.LEVEL.of(found), _timeout_s(found))


@lru_cache(maxsize=1_024)
def transaction_options(query: str) -> WriteOptions:
    """Options of a transaction, which is never at level ONE. Raises BadRequest."""
    found = parameters.TXN.found(query)
    return WriteOptions(parameters.TXN_LEVEL.of(found), _timeout_s(found))


@lru_cache(maxsize=1_024)
def put_options(query: str) -> PutOptions:
    """Options of a PUT. Raises BadRequest."""
    found = parameters.PUT.found(query)
    level, lease = parameters.LEVEL.of(found), parameters.LEASE.of(found) or 0
    if lease and level is Level.ONE:
        raise BadRequest("a write at level one takes no lease: its node may not know whether it is there")
    return PutOptions(level, _timeout_s(found), lease)


def range_delete_options(query: str) -> RangeDeleteOptions:
    """Options of a range DELETE. Raises BadRequest, also where no bound is given: nothing is deleted by leaving one
    out.
    """
    found = parameters.RANGE_DELETE.found(query)
    if not found.keys() & {"prefix", "start", "end"}:
        raise BadRequest("say which keys: prefix, or start and end; an empty prefix is all of them")
    level, dry_run = parameters.DELETE_LEVEL.of(found), parameters.DRY_RUN.of(found)
    return RangeDeleteOptions(level, _timeout_s(found), *_bounds(found), dry_run)


def watch_options(query: str, last_event_id: str | None) -> WatchOptions:
    """Options of a watch. Raises BadRequest, or KeyTooLong."""
    found = parameters.WATCH.found(query)
    key, prefix = parameters.WATCHED_KEY.of(found), parameters.WATCHED_PREFIX.of(found)
    if (key is None) == (prefix is None):
        raise BadRequest("watch one key, or all keys with a prefix: give key or prefix")
    start = parameters.FROM.of(found)
    if last_event_id:
        if DIGITS.fullmatch(last_event_id.encode("utf-8", "surrogateescape")) is None:
            raise BadRequest("Last-Event-ID must be one that a watch has told: a revision")
        start = min(int(last_event_id) + 1, limits.REVISION_MAX)
    return WatchOptions(key or prefix or b"", key is None, start, parameters.PREVIOUS.of(found), _timeout_s(found))


def timeout_option(query: str) -> float:
    """Seconds, for a call that takes nothing but `timeout_ms`. Raises BadRequest."""
    return _timeout_s(parameters.TIMEOUT.found(query))


def no_options(query: str) -> None:
    """For a call that takes no parameters. Raises BadRequest."""
    parameters.NOTHING.found(query)


def trace_options(query: str) -> tuple[int, int]:
    """(number of the first event, how many). Raises BadRequest."""
    found = parameters.TRACE.found(query)
    return parameters.TRACE_FROM.of(found) or 1, parameters.TRACE_LIMIT.of(found) or limits.TRACE_EVENTS_MAX


def removal_options(query: str) -> tuple[bool, float]:
    """(force, seconds) of the removal of a member. Raises BadRequest."""
    found = parameters.REMOVAL.found(query)
    return parameters.FORCE.of(found), _timeout_s(found)


def snapshot_options(query: str) -> WriteOptions:
    """Of a backup, taken at `one` or `quorum`. Raises BadRequest."""
    found = parameters.SNAPSHOT.found(query)
    return WriteOptions(parameters.SNAPSHOT_LEVEL.of(found), _timeout_s(found))


@lru_cache(maxsize=1_024)
def read_options(query: str) -> ReadOptions:
    """Options of a GET of one key. Raises BadRequest."""
    found = parameters.READ.found(query)
    level = parameters.LEVEL.of(found)
    min_revision, staleness_ms = parameters.MIN_REVISION.of(found), parameters.MAX_STALENESS_MS.of(found)
    if staleness_ms is not None and level is not Level.ONE:
        raise BadRequest("max_staleness_ms goes with level one; the other levels are never stale")
    revision = parameters.REVISION.of(found)
    if revision is not None and (level is Level.ALL or min_revision is not None or staleness_ms is not None):
        raise BadRequest(
            "a read at a revision is the same everywhere and for ever: it takes no min_revision, no max_staleness_ms, "
            "and not level all"
        )
    staleness_s = None if staleness_ms is None else staleness_ms / 1_000
    return ReadOptions(level, _timeout_s(found), min_revision, staleness_s, revision)


def range_options(query: str) -> RangeOptions:
    """Options of a range GET. Raises BadRequest, or KeyTooLong for a bound above the length of a key."""
    found = parameters.RANGE.found(query)
    start, end = _bounds(found)
    reverse = parameters.REVERSE.of(found)
    options = RangeOptions(
        level=parameters.READ_LEVEL.of(found),
        timeout_s=_timeout_s(found),
        start=start,
        end=end,
        limit=parameters.LIMIT.of(found),
        cursor=cursor_of(found["cursor"], reverse=reverse) if "cursor" in found else None,
        reverse=reverse,
        keys_only=parameters.KEYS_ONLY.of(found),
        count_only=parameters.COUNT_ONLY.of(found),
        revision=parameters.REVISION.of(found),
    )
    at = options.cursor
    if at is not None and (at.after < start or (end is not None and at.after >= end)):
        raise BadRequest("the cursor belongs to another range")
    if at is not None and options.revision not in (None, at.revision):
        raise BadRequest("the cursor belongs to another revision; it needs no revision beside it")
    if options.count_only and (at is not None or options.limit is not None):
        raise BadRequest("count_only counts the whole range: give it neither limit nor cursor")
    return options


def level_of(query: str) -> str | None:
    """The level that `query` names, the default if none, or None if it names no level at all. Never raises."""
    named = [part[6:] for part in query.split("&") if part.startswith("level=")]
    if not named:
        return Level.QUORUM.value
    return named[0] if len(named) == 1 and named[0] in _LEVEL_NAMES else None


def write_condition(if_match: Sequence[str], if_none_match: Sequence[str], *, deleting: bool = False) -> int | None:
    """The condition that the two headers state, as `kvstore.model.commands` has it; None for none.

    Raises BadRequest for anything but If-Match with `"N"` or `*`, and If-None-Match with `*` (not for a delete).
    """
    if not if_match and not if_none_match:
        return None
    if len(if_match) + len(if_none_match) > 1:
        raise BadRequest("give one of If-Match and If-None-Match, once")
    if if_none_match:
        if deleting:
            raise BadRequest("If-None-Match has no meaning for a delete")
        if if_none_match[0].strip() != "*":
            raise BadRequest("If-None-Match must be *")
        return MUST_BE_ABSENT
    text = if_match[0].strip()
    if text == "*":
        return MUST_EXIST
    tag = ENTITY_TAG.fullmatch(text)
    if tag is None or int(tag[1]) > limits.REVISION_MAX:
        raise BadRequest('If-Match must be * or one mod_revision in double quotes, for example "42"')
    return int(tag[1])


def once(keys: Sequence[str], sessions: Sequence[str]) -> Once | None:
    """What the headers Idempotency-Key and KV-Session say, as `kvstore.model.commands` has it. Raises BadRequest."""
    if len(keys) + len(sessions) > 1:
        raise BadRequest("give one of Idempotency-Key and KV-Session, once")
    if keys:
        key = keys[0].strip().encode("utf-8", "surrogateescape")
        if not 0 < len(key) <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
            raise BadRequest(f"an Idempotency-Key has 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes")
        return key
    if not sessions:
        return None
    match = SESSION.fullmatch(sessions[0].strip())
    numbers = tuple(int(number) for number in match.groups()) if match else ()
    if not numbers or max(numbers) > limits.REVISION_MAX or numbers[2] > numbers[1]:
        raise BadRequest(
            "KV-Session must be SESSION/SEQUENCE/FLOOR: three whole numbers, the floor not above the sequence"
        )
    return numbers[0], numbers[1], numbers[2]


def stamp(text: str) -> Stamp:
    """The stamp in a header KV-Stamp. Raises BadRequest."""
    match = STAMP.fullmatch(text.strip())
    if match is None:
        raise BadRequest("KV-Stamp must be one that an answer has told: MS.COUNTER.NODE.SEQUENCE")
    return Stamp(int(match[1]), int(match[2]), match[3] or "", int(match[4]))


def number_of(raw: str, what: str) -> int:
    """The number of a session or a lease in a path. Raises BadRequest."""
    if DIGITS.fullmatch(raw.encode("utf-8", "surrogateescape")) is None or not 0 < int(raw) <= limits.REVISION_MAX:
        raise BadRequest(f"a {what} is a whole number")
    return int(raw)


def request_id(text: str | None) -> str | None:
    """`text` if it may be used as the id of a request (bounded, harmless in a header and in a log), else None."""
    return text if text is not None and REQUEST_ID.fullmatch(text) else None


def cursor(at: Cursor, *, reverse: bool) -> str:
    """An opaque cursor that continues there. Letters, digits, - and _ only."""
    packed = (b"<" if reverse else b">") + _CURSOR.pack(at.revision, at.total) + at.after
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def cursor_of(raw: bytes, *, reverse: bool) -> Cursor:
    """What a cursor says. Raises BadRequest for what `cursor` did not write, or wrote for the other direction."""
    if len(raw) > limits.CURSOR_CHARS_MAX:
        raise BadRequest("the cursor is too long to be one of ours")
    try:
        decoded = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    after = decoded[1 + _CURSOR.size :]
    if decoded[:1] not in (b"<", b">") or not 0 < len(after) <= limits.KEY_BYTES_MAX:
        raise BadRequest("the cursor is not one that this API gave out")
    if (decoded[:1] == b"<") != reverse:
        raise BadRequest("the cursor was given out for the other direction")
    revision, total = _CURSOR.unpack_from(decoded, 1)
    if max(revision, total) > limits.REVISION_MAX:
        raise BadRequest("the cursor is not one that this API gave out")
    return Cursor(after, revision, total)


@lru_cache(maxsize=256)
def preferred(accept: str, offers: tuple[str, ...]) -> str:
    """The media type among `offers` that `accept` prefers; the first when it names none of them.

    A type named in full is preferred to one that only a wildcard allows at the same quality, so that the usual
    `application/json, */*` gives JSON. Nothing is refused for its Accept header.
    """
    ranges = [parsed for part in accept.split(",") if (parsed := _media_range(part)) is not None]
    best, best_rank = offers[0], (0.0, 0)
    for offer in offers:
        kind, _, subtype = offer.partition("/")
        matches = [
            ((r_subtype != "*") + (r_kind != "*"), quality)
            for r_kind, r_subtype, quality in ranges
            if r_kind in (kind, "*") and r_subtype in (subtype, "*")
        ]
        specificity, quality = max(matches, default=(0, 0.0))
        if quality > 0 and (quality, specificity) > best_rank:
            best, best_rank = offer, (quality, specificity)
    return best


def _media_range(text: str) -> tuple[str, str, float] | None:
    match = _MEDIA_RANGE.fullmatch(text)
    if match is None:
        return None
    quality = 1.0
    for parameter in (match[3] or "").split(";"):
        weight = _QUALITY.fullmatch(parameter)
        if weight is not None:
            quality = float(weight[1])
    return match[1].lower(), match[2].lower(), quality


def _timeout_s(found: Found) -> float:
    timeout_ms = parameters.TIMEOUT_MS.of(found)
    return (limits.TIMEOUT_MS_DEFAULT if timeout_ms is None else timeout_ms) / 1_000


def _bounds(found: Found) -> tuple[bytes, bytes | None]:
    prefix, start, end = parameters.PREFIX.of(found), parameters.START.of(found), parameters.END.of(found)
    if prefix is not None:
        if start is not None or end is not None:
            raise BadRequest("give prefix, or start and end, not both")
        return prefix, prefix_end(prefix)
    # An empty end is one left blank in a form or script: there is nothing below the empty key to ask for.
    return start or b"", end or None

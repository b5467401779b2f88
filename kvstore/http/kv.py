"""Handlers of single keys: PUT, GET, HEAD and DELETE of `/v1/kv/{key}`. The hot path of the server."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web

from kvstore import limits
from kvstore.errors import BadRequest, NotFound, Overloaded, TooLarge
from kvstore.guard.gate import Caller, Gate
from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, OCTETS, Answer, content_type
from kvstore.http.bodies import Bodies, Held
from kvstore.http.problems import Refused
from kvstore.http.report_files import Reports
from kvstore.http.shapes import RecordBody, WriteBody, encode
from kvstore.http.store import Store
from kvstore.http.waiting import Waiting
from kvstore.model.commands import Once
from kvstore.model.results import ReadAnswer, WriteAnswer
from kvstore.model.stamp import Stamp
from kvstore.telemetry.metrics import Metrics

_IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_SESSION: Final = "KV-Session"
_STAMP: Final = "KV-Stamp"

_WRITE_OFFERS: Final = (JSON, MSGPACK)
_READ_OFFERS: Final = (OCTETS, JSON, MSGPACK)

_WRITE_TYPE: Final = {offer: content_type(offer) for offer in _WRITE_OFFERS}
_READ_TYPE: Final = {offer: content_type(offer) + b"Vary: Accept\r\n" for offer in _READ_OFFERS}


@dataclass(frozen=True, slots=True)
class Door:
    """What every handler may use. `described`, `explained`: the API as a document, and as a page. `caller`: who asks,
    if auth is enabled and the route is not open; `store` is then that of this caller. `audited`: whether answers are to
    say what they are about.
    """

    store: Store
    metrics: Metrics
    bodies: Bodies
    described: Callable[[], bytes]
    explained: Callable[[], bytes]
    waiting: Waiting
    gate: Gate
    reports: Reports
    caller: Caller | None = None
    audited: bool = False


async def put(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Writes the body under the key."""
    key = parse.key_of(raw_key)
    level, timeout_s, lease = parse.put_options(query)
    condition = _condition(request, deleting=False)
    once = once_of(door, request)
    with door.bodies.held() as held:
        value, took_s = await read_body(request, limits.VALUE_BYTES_MAX, held, timeout_s)
        timeout_s -= took_s
        answer = await door.store.put(
            key, value, level=level, condition=condition, once=once, lease=lease, timeout_s=timeout_s
        )
    return _written(door, request, answer, b"" if answer.revision is None else b'ETag: "%d"\r\n' % answer.revision)


async def delete(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Deletes the key; 404 when it is absent."""
    key = parse.key_of(raw_key)
    level, timeout_s = parse.write_options(query)
    condition = _condition(request, deleting=True)
    once = once_of(door, request)
    answer = await door.store.delete(key, level=level, condition=condition, once=once, timeout_s=timeout_s)
    return _written(door, request, answer, b"")


async def get(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The value as it was put, or the whole record as JSON or msgpack if `Accept` prefers that."""
    key = parse.key_of(raw_key)
    level, timeout_s, min_revision, max_staleness_s, revision = parse.read_options(query)
    hear(door, request)
    accept = request.headers.get(hdrs.ACCEPT)
    offer = OCTETS if accept is None else parse.preferred(accept, _READ_OFFERS)
    answer = await door.store.get(
        key,
        level=level,
        min_revision=min_revision,
        max_staleness_s=max_staleness_s,
        revision=revision,
        timeout_s=timeout_s,
    )
    record = answer.record
    if record is None:
        raise Refused(NotFound("the key is absent", read=True, leader=answer.leader), _state_lines(answer))
    # A write at level ONE that is only pending has no revision yet, so nothing can be conditioned on it.
    tag = b'ETag: "%d"\r\nKV-Version: %d\r\n' % (record.mod_revision, record.version) if record.mod_revision else b""
    headers = b"%b%b%b" % (_READ_TYPE[offer], tag, _state_lines(answer))
    body = record.value if offer is OCTETS else encode(RecordBody.of(key, record), offer)
    return Answer(200, headers, body, level.value)


async def read_body(
    request: web.BaseRequest, bytes_max: int, held: Held, timeout_s: float = limits.HTTP_BODY_READ_S_MAX
) -> tuple[bytes, float]:
    """The whole body, and the seconds that it took. Raises TooLarge above `bytes_max`, BadRequest when it breaks off or
    takes too long, Overloaded when the bodies of all requests take too much room, or `timeout_s` is over: the time that
    a request is given runs from its head, for a node that is overloaded is slow to read, too.

    A declared length above the bound is refused at once, before anything is read or a 100 (Continue) is sent.
    """
    content = request.content
    if content.is_eof():
        body = content.read_nowait(-1)
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body, 0.0
    declared = request.content_length
    if declared is not None and declared > bytes_max:
        raise _too_large(bytes_max)
    held.take(declared or 0)
    transport = request.transport
    if transport is not None and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts: list[bytes] = []
    size = 0
    began = time.monotonic()
    try:
        async with asyncio.timeout(min(timeout_s, limits.HTTP_BODY_READ_S_MAX)):
            while not content.at_eof():
                part = await content.readany()
                size += len(part)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                if declared is None:
                    held.take(len(part))
                parts.append(part)
    except TimeoutError:
        if timeout_s < limits.HTTP_BODY_READ_S_MAX:
            raise Overloaded(f"the body was not complete within the {timeout_s:g} s of the request") from None
        raise BadRequest(f"the body was not complete within {limits.HTTP_BODY_READ_S_MAX:g} s") from None
    except (web.RequestPayloadError, OSError) as broken:
        raise BadRequest("the body broke off or is malformed") from broken
    except RuntimeError as gone:
        # What aiohttp says to who reads on when the client has gone already, without a word about the body.
        if request.transport is not None:
            raise
        raise BadRequest("the body broke off: the client has gone") from gone
    return b"".join(parts), time.monotonic() - began


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the body is larger than {bytes_max} bytes")


def _condition(request: web.BaseRequest, *, deleting: bool) -> int | None:
    headers = request.headers
    if hdrs.IF_MATCH in headers or hdrs.IF_NONE_MATCH in headers:
        return parse.write_condition(
            headers.getall(hdrs.IF_MATCH, ()), headers.getall(hdrs.IF_NONE_MATCH, ()), deleting=deleting
        )
    return None


def once_of(door: Door, request: web.BaseRequest) -> Once | None:
    """How a repetition of this request is to be known."""
    headers = request.headers
    hear(door, request)
    if once_headers(request):
        return parse.once(headers.getall(_IDEMPOTENCY_KEY, ()), headers.getall(_SESSION, ()))
    return None


def once_headers(request: web.BaseRequest) -> bool:
    """Whether the request is named by a header."""
    return _IDEMPOTENCY_KEY in request.headers or _SESSION in request.headers


def hear(door: Door, request: web.BaseRequest) -> None:
    """Take note of the highest stamp that the client has seen, if it tells one."""
    told = request.headers.get(_STAMP)
    if told is not None:
        door.store.heard(parse.stamp(told))


def _written(door: Door, request: web.BaseRequest, answer: WriteAnswer, tag: bytes) -> Answer:
    accept = request.headers.get(hdrs.ACCEPT)
    offer = JSON if accept is None else parse.preferred(accept, _WRITE_OFFERS)
    body = WriteBody.of(answer)
    stamp = stamp_line(door.store.stamp())
    if answer.revision is None or answer.version is None:
        headers = b"%bLocation: /v1/receipts/%b\r\n%b" % (_WRITE_TYPE[offer], (answer.receipt or "").encode(), stamp)
        return Answer(202, headers, encode(body, offer), answer.level.value)
    headers = b"%b%bKV-Revision: %d\r\nKV-Version: %d\r\n%b" % (
        _WRITE_TYPE[offer],
        tag,
        answer.revision,
        answer.version,
        stamp,
    )
    return Answer(200, headers, encode(body, offer), answer.level.value)


def _state_lines(answer: ReadAnswer) -> bytes:
    return state_lines(answer.revision, answer.applied_index, answer.leader, answer.stamp)


def state_lines(revision: int, applied_index: int, leader: str | None, stamp: Stamp) -> bytes:
    """Header lines of the state that answered a read."""
    return b"KV-Revision: %d\r\nKV-Applied-Index: %d\r\n%b%b" % (
        revision,
        applied_index,
        b"" if leader is None else _leader_line(leader),
        stamp_line(stamp),
    )


@lru_cache(maxsize=64)
def stamp_line(stamp: Stamp) -> bytes:
    """The header line that tells `stamp`. Cached, because reads between two writes all tell the same one."""
    return b"KV-Stamp: %b\r\n" % str(stamp).encode("ascii", "backslashreplace")


@lru_cache(maxsize=64)
def _leader_line(leader: str) -> bytes:
    return b"KV-Leader: %b\r\n" % leader.encode("ascii", "backslashreplace")

"""`GET /v1/watch`: every change of a key, or of the keys with a prefix, as server-sent events.

    id: 42                         the revision, on the last event of it: whoever resumes behind it has seen all of it
    event: put | delete            `delete` has a record without a value
    data: {"key", ...}             one line; `previous` too, where it was asked for

Changes of one revision come in the order of their keys, and go out together. Control events carry `{"revision"}`:
`progress`, every few seconds without a change, says that everything up to it has been told; `lagged` and `compacted`
say that the watch ends, and `closed` that the node does, or knows no leader; the revision is where another watch can
begin.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import ClassVar, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from kvstore import limits
from kvstore.http import parse
from kvstore.http.answer import Answer, StreamAnswer, content_type
from kvstore.http.kv import Door, hear, stamp_line
from kvstore.http.shapes import RecordBody, encode, keyed
from kvstore.http.store import Watch
from kvstore.model.results import Change

_HEADERS: Final = content_type("text/event-stream") + b"Cache-Control: no-store\r\n"
_JSON: Final = "application/json"
_LAST_EVENT_ID: Final = "Last-Event-ID"


class DeletedBody(msgspec.Struct):
    """A key that was deleted."""

    EITHER: ClassVar[tuple[str, ...]] = ("key",)

    key: str | UnsetType
    key_base64: bytes | UnsetType
    mod_revision: int
    previous: RecordBody | UnsetType | None = UNSET


class PutBody(RecordBody):
    """A key that was put, as it is then."""

    previous: RecordBody | UnsetType | None = UNSET


async def get_watch(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The changes from `from` on, or from now; a stream that does not end by itself."""
    options = parse.watch_options(query, request.headers.get(_LAST_EVENT_ID))
    hear(door, request)
    watch = await door.store.watch(options.key, prefix=options.prefix, start=options.start, timeout_s=options.timeout_s)
    begins = b"KV-Revision: %d\r\n" % watch.revision
    headers = _HEADERS + begins + stamp_line(door.store.stamp())
    return StreamAnswer(200, headers, _events(door, watch, previous=options.previous), close=watch.close)


async def _events(door: Door, watch: Watch, *, previous: bool) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    yield b": from revision %d on\n\n" % (watch.revision + 1)
    while True:
        told = await watch.changes(loop.time() + limits.WATCH_PROGRESS_S)
        if isinstance(told, list):
            yield b"".join(_each(told, previous=previous)) or _control("progress", watch.revision)
            if not told and door.store.ready() is not None:
                # Cut off from the leader, this node would tell for ever that nothing happens.
                yield _control("closed", watch.revision + 1)
                return
        else:
            yield _control(told.why, told.revision)
            return


def _each(changes: list[Change], *, previous: bool) -> list[bytes]:
    ends = {change.revision: place for place, change in enumerate(changes)}
    return [
        event(change, last=ends[change.revision] == place, previous=previous) for place, change in enumerate(changes)
    ]


def event(change: Change, *, last: bool, previous: bool) -> bytes:
    """One change. `last`: no other of its revision comes behind it."""
    revision, key, record, before = change
    told: RecordBody | UnsetType | None = UNSET
    if previous:
        told = None if before is None else RecordBody.of(key, before)
    body: PutBody | DeletedBody
    if record is None:
        body = DeletedBody(*keyed(key), revision, told)
    else:
        plain = RecordBody.of(key, record)
        body = PutBody(**msgspec.structs.asdict(plain), previous=told)
    name = b"delete" if record is None else b"put"
    mark = b"id: %d\n" % revision if last else b""
    return b"%bevent: %b\ndata: %b\n\n" % (mark, name, encode(body, _JSON))


def _control(name: str, revision: int) -> bytes:
    return b'event: %b\ndata: {"revision":%d}\n\n' % (name.encode(), revision)

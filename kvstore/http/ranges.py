"""The range GET: one page as JSON or msgpack, or everything as a stream of ndjson lines."""

from collections.abc import AsyncGenerator
from typing import Final

import structlog
from aiohttp import hdrs, web

from kvstore import limits
from kvstore.errors import BadRequest, KvError
from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, NDJSON, Answer, StreamAnswer, content_type
from kvstore.http.kv import Door, hear, state_lines
from kvstore.http.shapes import RangeBody, RecordBody, encode, line
from kvstore.model.levels import Level
from kvstore.model.results import RangeAnswer

_log = structlog.get_logger("kvstore.http")

_OFFERS: Final = (JSON, MSGPACK, NDJSON)
_TYPE: Final = {offer: content_type(offer) + b"Vary: Accept\r\n" for offer in _OFFERS}


async def get_range(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A page of the range, all at one revision; as ndjson, page after page until the range or the limit ends."""
    options = parse.range_options(query)
    hear(door, request)
    offer = parse.preferred(request.headers.get(hdrs.ACCEPT, JSON), _OFFERS)
    if offer == NDJSON and options.count_only:
        raise BadRequest("count_only has no ndjson form; accept application/json")
    first = await _page(door, options)
    headers = _TYPE[offer] + state_lines(first.revision, first.applied_index, first.leader, first.stamp)
    if offer == NDJSON:
        return StreamAnswer(200, headers, _lines(door, options, first), options.level.value)
    more = None if options.count_only else _cursor(options, first)
    body = RangeBody(
        first.revision,
        first.count,
        None if more is None else parse.cursor(more, reverse=options.reverse),
        []
        if options.count_only
        else [RecordBody.of(key, record, with_value=not options.keys_only) for key, record in first.records],
    )
    return Answer(200, headers, encode(body, offer), options.level.value)


def _cursor(options: parse.RangeOptions, page: RangeAnswer) -> parse.Cursor | None:
    """Where the page after `page` begins. At level ONE it shows the node's pending writes, which belong to no
    revision.
    """
    if page.next_key is None:
        return None
    pinned = options.level is not Level.ONE or options.revision is not None
    return parse.Cursor(page.next_key, page.revision if pinned else 0, page.count)


async def _page(door: Door, options: parse.RangeOptions) -> RangeAnswer:
    limit = 1 if options.count_only else options.limit or limits.RANGE_LIMIT_DEFAULT
    at = options.cursor
    pinned = at is not None and at.revision > 0
    return await door.store.range(
        options.start,
        options.end,
        level=options.level,
        limit=limit,
        after=None if at is None else at.after,
        reverse=options.reverse,
        revision=at.revision if at is not None and pinned else options.revision,
        count=at.total if at is not None and pinned else None,
        timeout_s=options.timeout_s,
    )


async def _lines(door: Door, options: parse.RangeOptions, page: RangeAnswer) -> AsyncGenerator[bytes, None]:
    """Chunks of lines, one for each page. A page that fails ends the stream as a truncated body."""
    left = options.limit
    while True:
        yield b"".join(line(key, None if options.keys_only else record.value) for key, record in page.records)
        if left is not None:
            left -= len(page.records)
        if page.next_key is None or left == 0:
            return
        options = options._replace(cursor=_cursor(options, page), limit=left)
        try:
            page = await _page(door, options)
        except KvError as failed:
            _log.warning("range_stream_cut", code=failed.code, detail=failed.detail)
            raise ConnectionAbortedError("the stream cannot go on") from failed

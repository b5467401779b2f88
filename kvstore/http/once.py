"""Handlers of what makes a write happen once and lets its fate be known: sessions and receipts."""

from typing import Final

import msgspec
from aiohttp import hdrs, web

from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, Answer, content_type
from kvstore.http.kv import Door, stamp_line
from kvstore.http.shapes import ReceiptBody, SessionBody, encode

_OFFERS: Final = (JSON, MSGPACK)


async def get_receipt(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """What became of a write at level ONE."""
    timeout_s = parse.timeout_option(query)
    text = parse.key_of(raw_key).decode(errors="replace")
    return shaped(door, request, 200, ReceiptBody(*await door.store.receipt(text, timeout_s=timeout_s)))


async def open_session(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A new session, for a client that numbers its writes."""
    timeout_s = parse.timeout_option(query)
    return shaped(door, request, 201, SessionBody(await door.store.open_session(timeout_s=timeout_s)))


async def close_session(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Forget a session."""
    timeout_s = parse.timeout_option(query)
    session = parse.number_of(raw_key, "session")
    await door.store.close_session(session, timeout_s=timeout_s)
    return shaped(door, request, 200, SessionBody(session))


def shaped(door: Door, request: web.BaseRequest, status: int, body: msgspec.Struct) -> Answer:
    """An answer with a structured body, in the form that the client prefers."""
    offer = parse.preferred(request.headers.get(hdrs.ACCEPT, JSON), _OFFERS)
    return Answer(status, content_type(offer) + stamp_line(door.store.stamp()), encode(body, offer))

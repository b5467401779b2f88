"""Handlers about the node itself: the cluster as it sees it, liveness, readiness and metrics."""

from typing import Annotated, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from kvstore import limits
from kvstore.config import NAME, parse_address, parse_name
from kvstore.errors import BadRequest, Unavailable
from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, NDJSON, Answer, content_type
from kvstore.http.asked import asked
from kvstore.http.kv import Door
from kvstore.http.shapes import cluster_body, encode
from kvstore.model.results import ClusterView

_OFFERS: Final = (JSON, MSGPACK)
_PLAIN: Final = content_type("text/plain; charset=utf-8")
_PAGE: Final = content_type("text/html; charset=utf-8")


async def get_cluster(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The members, who leads, and the alarms."""
    parse.no_options(query)
    return _view(request, await door.store.cluster())


async def add_member(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Take in a member, as a learner that is promoted once it has caught up. Body: {"name", "peer"}."""
    timeout_s = parse.timeout_option(query)
    body, _ = await asked(door, request, NewMember)
    try:
        parse_name(body.name)
        parse_address(body.peer)
    except ValueError as wrong:
        raise BadRequest(str(wrong)) from wrong
    return _view(request, await door.store.add_member(body.name, body.peer, timeout_s=timeout_s))


async def remove_member(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Remove a member; a leader hands over first. `lost_writes` are those at level ONE that went with it."""
    force, timeout_s = parse.removal_options(query)
    name = parse.key_of(raw_key).decode(errors="replace")
    view, lost = await door.store.remove_member(name, force=force, timeout_s=timeout_s)
    return _view(request, view, lost_writes=lost)


async def transfer_leader(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Hand leadership over. Body: {"name"}, or {} for whoever is most current."""
    timeout_s = parse.timeout_option(query)
    body, _ = await asked(door, request, NewLeader)
    return _view(request, await door.store.transfer_leader(body.name, timeout_s=timeout_s))


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/cluster/members`."""

    # Checked by the parsers of the settings, whose messages say what is wrong.
    name: Annotated[str, Meta(extra_json_schema={"pattern": f"^{NAME.pattern}$", "maxLength": limits.NAME_CHARS_MAX})]
    peer: Annotated[str, Meta(extra_json_schema={"pattern": "^.+:[0-9]{1,5}$", "examples": ["127.0.0.1:8481"]})]


class NewLeader(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/cluster/leader`."""

    name: str | None = None


def _view(request: web.BaseRequest, view: ClusterView, **more: int | None) -> Answer:
    offer = parse.preferred(request.headers.get(hdrs.ACCEPT, JSON), _OFFERS)
    return Answer(200, content_type(offer), encode(cluster_body(view) | more, offer))


async def livez(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """200 as long as the loop turns."""
    parse.no_options(query)
    return Answer(200, _PLAIN, b"ok\n")


async def readyz(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """200 when the node can serve, else 503 with the reason."""
    parse.no_options(query)
    reason = door.store.ready()
    if reason is not None:
        raise Unavailable(reason, read=True)
    return Answer(200, _PLAIN, b"ok\n")


async def get_openapi(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """This API as an OpenAPI document."""
    parse.no_options(query)
    return Answer(200, content_type(JSON), door.described())


async def get_docs(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """This API as a page to read."""
    parse.no_options(query)
    return Answer(200, _PAGE, door.explained())


async def get_trace(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """What the protocol did: the newest events that are kept, or those from a number on, as JSON lines."""
    since, limit = parse.trace_options(query)
    return Answer(200, content_type(NDJSON) + b"Cache-Control: no-store\r\n", door.store.trace_lines(since, limit))


async def metrics(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """All metrics, as Prometheus reads them."""
    parse.no_options(query)
    body, kind = door.metrics.exposition(request.headers.get(hdrs.ACCEPT, ""))
    return Answer(200, content_type(kind), body)

"""Handlers about the node itself: the cluster as it sees it, liveness, readiness and metrics."""

from typing import Final

from aiohttp import hdrs, web

from kvstore.errors import BadRequest, Unavailable
from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, Answer, content_type
from kvstore.http.kv import Door
from kvstore.http.shapes import cluster_body, encode

_OFFERS: Final = (JSON, MSGPACK)
_PLAIN: Final = content_type("text/plain; charset=utf-8")


async def get_cluster(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The members, who leads, and the alarms."""
    _no_parameters(query)
    offer = parse.preferred(request.headers.get(hdrs.ACCEPT, JSON), _OFFERS)
    return Answer(200, content_type(offer), encode(cluster_body(await door.store.cluster()), offer))


async def livez(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """200 as long as the loop turns."""
    _no_parameters(query)
    return Answer(200, _PLAIN, b"ok\n")


async def readyz(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """200 when the node can serve, else 503 with the reason."""
    _no_parameters(query)
    reason = door.store.ready()
    if reason is not None:
        raise Unavailable(reason, read=True)
    return Answer(200, _PLAIN, b"ok\n")


async def metrics(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """All metrics, as Prometheus reads them."""
    body, kind = door.metrics.exposition(request.headers.get(hdrs.ACCEPT, ""))
    return Answer(200, content_type(kind), body)


def _no_parameters(query: str) -> None:
    if query:
        raise BadRequest("this path takes no parameters")

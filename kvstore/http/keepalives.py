"""Many leases kept alive at once: by one body, or by a stream of them.

In a stream a line of the request is what a whole body is otherwise, and is answered by a line as it comes; so whoever
keeps thousands of leases alive all day sends no heads. Where a body would get an error, a line gets the same problem,
and the next one may fare better; only what is not a line of that form ends the stream.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from kvstore import limits
from kvstore.errors import BadRequest, Forbidden, KvError, Unauthenticated
from kvstore.http import parse
from kvstore.http.answer import JSON, NDJSON, Answer, StreamAnswer, content_type
from kvstore.http.asked import asked, media_type
from kvstore.http.bodies import Held
from kvstore.http.kv import Door, stamp_line
from kvstore.http.leases import LeaseBody
from kvstore.http.once import shaped
from kvstore.http.problems import problem
from kvstore.http.shapes import encode

_Id = Annotated[int, Meta(ge=1, le=limits.REVISION_MAX)]


class KeepAliveBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/leases/keepalive`, or a line of it."""

    ids: Annotated[list[_Id], Meta(max_length=limits.LEASES_KEPT_ALIVE_MAX)]


class KeptAliveBody(msgspec.Struct):
    """Those that live on, and those that are not there any more."""

    leases: list[LeaseBody]
    gone: list[int]


async def keep_many_alive(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The same for many at once. Body: {"ids"}, or a stream of such lines."""
    timeout_s = parse.timeout_option(query)
    if media_type(request) == NDJSON:
        headers = content_type(NDJSON) + stamp_line(door.store.stamp())
        return StreamAnswer(200, headers, _answers(door, request, timeout_s))
    body, took_s = await asked(
        door, request, KeepAliveBody, timeout_s=timeout_s, bytes_max=limits.LEASES_BODY_BYTES_MAX
    )
    return shaped(door, request, 200, await _kept_alive(door, body, timeout_s - took_s))


async def _kept_alive(door: Door, body: KeepAliveBody, timeout_s: float) -> KeptAliveBody:
    told = await door.store.leases.keep_alive(body.ids, timeout_s=timeout_s)
    kept = [LeaseBody(lease, ttl_ms / 1000) for lease, ttl_ms in zip(body.ids, told, strict=True) if ttl_ms]
    return KeptAliveBody(kept, [lease for lease, ttl_ms in zip(body.ids, told, strict=True) if not ttl_ms])


async def _answers(door: Door, request: web.BaseRequest, timeout_s: float) -> AsyncGenerator[bytes, None]:
    lines = _Lines(request)
    while True:
        with door.bodies.held() as held:
            try:
                line = await door.waiting.client(request, lines.next(held))
                if line is None:
                    return
                body = msgspec.json.decode(line, type=KeepAliveBody)
            except (KvError, msgspec.DecodeError, UnicodeDecodeError) as wrong:
                error = wrong if isinstance(wrong, KvError) else BadRequest(f"a line is not what is expected: {wrong}")
                yield _refused(error)
                return
            try:
                yield encode(await _kept_alive(door, body, timeout_s), JSON) + b"\n"
            except (Unauthenticated, Forbidden) as ended:
                yield _refused(ended)
                return
            except KvError as failed:
                yield _refused(failed)


def _refused(error: KvError) -> bytes:
    # The id of the request is in the head.
    return problem(error, request_id="", read=False, level=None).body + b"\n"


class _Lines:
    """The lines of a body, one after the other."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._content = request.content
        self._rest = b""

    async def next(self, held: Held) -> bytes | None:
        """The next line that is not empty; None at the end. What it takes is held. Raises KvError for a line that is
        too long, or too long in coming; its beginning alone is none.
        """
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                if line.strip():
                    return line
                continue
            if len(line) > limits.LEASES_BODY_BYTES_MAX:
                raise BadRequest(f"a line is longer than {limits.LEASES_BODY_BYTES_MAX} bytes")
            try:
                async with asyncio.timeout(limits.KEEPALIVE_SILENCE_S_MAX):
                    part = await self._content.readany()
            except TimeoutError:
                raise BadRequest(f"no line came within {limits.KEEPALIVE_SILENCE_S_MAX:g} s") from None
            except (web.RequestPayloadError, OSError):
                return None
            except RuntimeError:  # see kvstore.http.kv.read_body
                if self._request.transport is not None:
                    raise
                return None
            if not part:
                return None
            held.take(len(part))
            self._rest += part

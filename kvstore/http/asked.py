"""Structured bodies of requests: read within a bound, decoded as JSON or msgpack into the struct that a handler asks
for.
"""

import base64
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, Meta

from kvstore import limits
from kvstore.errors import BadRequest
from kvstore.http.answer import JSON, MSGPACK
from kvstore.http.kv import Door, read_body

_Body = TypeVar("_Body")


# What JSON has there; checked by `plain_bytes`, because msgpack may have bytes.
PlainText = Annotated[Any, Meta(extra_json_schema={"type": "string"})]
Base64Text = Annotated[Any, Meta(extra_json_schema={"type": "string", "contentEncoding": "base64"})]


class Keyed(msgspec.Struct, forbid_unknown_fields=True):
    """Bytes are text under the plain name, or base64 under the other; in msgpack they may be bytes under the plain
    one.
    """

    EITHER: ClassVar[tuple[str, ...]] = ("key",)

    key: Annotated[PlainText, Meta(extra_json_schema={"minLength": 1, "maxLength": limits.KEY_BYTES_MAX})] = UNSET
    key_base64: Base64Text = UNSET


async def asked(
    door: Door,
    request: web.BaseRequest,
    shape: type[_Body],
    *,
    timeout_s: float = limits.HTTP_BODY_READ_S_MAX,
    bytes_max: int = limits.ADMIN_BODY_BYTES_MAX,
) -> tuple[_Body, float]:
    """The body of `request`, `{}` if it is empty, and the seconds that it took. Raises KvError."""
    with door.bodies.held() as held:
        body, took_s = await read_body(request, bytes_max, held, timeout_s)
    try:
        if media_type(request) == MSGPACK:
            return msgspec.convert(msgspec.msgpack.decode(body) if body else {}, shape, builtin_types=(bytes,)), took_s
        return msgspec.json.decode(body or b"{}", type=shape), took_s
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise BadRequest(f"the body is not what is expected here: {wrong}") from wrong


def media_type(request: web.BaseRequest) -> str:
    """What the body of `request` says that it is, without parameters; JSON if it does not say."""
    return request.headers.get(hdrs.CONTENT_TYPE, JSON).partition(";")[0].strip().lower()


def plain_bytes(name: str, plain: Any, encoded: Any) -> bytes:
    """What one of two members says: text (or bytes, in msgpack), or base64. Raises BadRequest."""
    if encoded is UNSET and isinstance(plain, (str, bytes)):
        return plain.encode() if isinstance(plain, str) else plain
    if plain is UNSET and isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError as wrong:
            raise BadRequest(f"{name}_base64 is no base64") from wrong
    raise BadRequest(f'give "{name}", which is text, or "{name}_base64"')

"""Addresses: endpoints as people write them, keys and queries as the wire needs them.

A key is any bytes. It is percent-encoded exactly once, the slash too, so that nothing between here and the node sees a
path to tidy up: `a//b`, `..` and a literal `%2F` arrive as they were given.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_from_bytes, urlsplit

from kvstore import limits
from kvstore.errors import BadRequest, KeyTooLong

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8480"

_DOTS: Final = {b".": "%2E", b"..": "%2E%2E"}


def parse_endpoints(texts: Iterable[str]) -> tuple[str, ...]:
    """Endpoints as `scheme://host[:port]`, in order, without repeats. A missing scheme is http.

    Raises ValueError, with a message for people, for anything that is not such an address, for none and for too many.
    """
    endpoints: list[str] = []
    for text in (part.strip() for part in texts):
        if not text:
            continue
        endpoint = _endpoint(text)
        if endpoint not in endpoints:
            endpoints.append(endpoint)
    if not endpoints:
        raise ValueError("no endpoint is given")
    if len(endpoints) > limits.ENDPOINTS_MAX:
        raise ValueError(f"{len(endpoints)} endpoints are given, at most {limits.ENDPOINTS_MAX} are allowed")
    return tuple(endpoints)


def _endpoint(text: str) -> str:
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port
    except ValueError as wrong:
        raise ValueError(f"{text!r} is not an endpoint: {wrong}") from wrong
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not an endpoint; write http://HOST:PORT")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text!r} is not an endpoint: it must end after the port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def key_path(key: bytes) -> str:
    """The path of `key`. Raises BadRequest for an empty key, KeyTooLong above the bound; neither is ever sent."""
    if not key:
        raise BadRequest("the key is empty; a key has 1 to 4,096 bytes")
    if len(key) > limits.KEY_BYTES_MAX:
        raise KeyTooLong(f"the key has {len(key):,} bytes; at most {limits.KEY_BYTES_MAX:,} are allowed")
    return "/v1/kv/" + (_DOTS.get(key) or quote_from_bytes(key, safe=""))


def query(parameters: Iterable[tuple[str, str | bytes | int | None]]) -> str:
    """An encoded query, without the question mark; parameters that are None are left out."""
    pairs: list[str] = []
    for name, value in parameters:
        if value is None:
            continue
        encoded = quote_from_bytes(value, safe="") if isinstance(value, bytes) else quote(str(value), safe="")
        pairs.append(f"{name}={encoded}")
    return "&".join(pairs)

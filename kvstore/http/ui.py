"""`/ui`: the web page. A table of files, read once and whole from the package: no path of a request touches the disk.

The page may load and ask nothing but what this node serves, and nothing of it is made from text (docs/ui.md). The one
exception is the frame in which reports are shown: it has an origin of its own, and may ask nothing at all.
"""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from kvstore import limits
from kvstore.errors import RouteNotFound
from kvstore.http import parse
from kvstore.http.answer import Answer, content_type
from kvstore.http.kv import Door

INDEX: Final = "index.html"
FRAME: Final = "frame.html"

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
FRAME_POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_COMMON: Final = (
    b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n"
    # Asked for anew each time, and told by 304 that nothing has changed: an upgrade shows at once.
    b"Cache-Control: no-cache\r\n"
)


class File(NamedTuple):
    """One file as it is sent: `tag` in quotes, the header lines, the bytes."""

    tag: str
    headers: bytes
    body: bytes


@cache
def files() -> dict[str, File]:
    """By path below `/ui/`. Raises RuntimeError for a file that does not belong there."""
    found: dict[str, File] = {}
    _read(resources.files("kvstore") / "ui", "", found)
    return found


def _read(folder: Traversable, prefix: str, found: dict[str, File]) -> None:
    for each in sorted(folder.iterdir(), key=lambda one: one.name):
        if each.is_dir():
            _read(each, f"{prefix}{each.name}/", found)
            continue
        kind = _TYPES.get(each.name.rpartition(".")[2])
        body = each.read_bytes()
        if kind is None or len(body) > limits.UI_FILE_BYTES_MAX:
            raise RuntimeError(f"kvstore/ui/{prefix}{each.name} is no file of the page")
        name = prefix + each.name
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        policy = FRAME_POLICY if name == FRAME else PAGE_POLICY
        headers = b"%bETag: %b\r\nContent-Security-Policy: %b\r\n%b" % (
            content_type(kind),
            tag.encode(),
            policy.encode(),
            _COMMON,
        )
        found[name] = File(tag, headers, body)


async def get_page(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The web page of this cluster."""
    return _answer(request, INDEX, query)


async def get_page_file(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A file of the web page."""
    return _answer(request, parse.key_of(raw_key).decode(errors="replace"), query)


def _answer(request: web.BaseRequest, name: str, query: str) -> Answer:
    parse.no_options(query)
    file = files().get(name)
    if file is None:
        raise RouteNotFound("the web page has no such file")
    known = request.headers.get(hdrs.IF_NONE_MATCH)
    if known is not None and any(part.strip().removeprefix("W/") in (file.tag, "*") for part in known.split(",")):
        return Answer(304, file.headers, b"")
    return Answer(200, file.headers, file.body)

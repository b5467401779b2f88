"""`GET /v1/snapshot`: a backup of the whole store, as the bytes of one file."""

from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import web

from kvstore.http import parse
from kvstore.http.answer import OCTETS, Answer, StreamAnswer, content_type
from kvstore.http.kv import Door
from kvstore.http.store import Backup

_HEADERS: Final = content_type(OCTETS) + b"Cache-Control: no-store\r\n"


async def get_snapshot(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A backup, with everything acknowledged before (level quorum), or what this node has (level one)."""
    options = parse.snapshot_options(query)
    backup = await door.store.backup(level=options.level, timeout_s=options.timeout_s)
    headers = _HEADERS + b"KV-Applied-Index: %d\r\n" % backup.index
    return StreamAnswer(200, headers, _bytes(backup), options.level.value, length=backup.size, close=backup.close)


async def _bytes(backup: Backup) -> AsyncGenerator[bytes, None]:
    offset = 0
    while part := await backup.read(offset):
        offset += len(part)
        yield part

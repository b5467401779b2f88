"""Bodies of clients that have gone by the time that they are read."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from kvstore.errors import BadRequest
from kvstore.http.bodies import Bodies
from kvstore.http.keepalives import _Lines
from kvstore.http.kv import read_body


def request(*, transport: object) -> Any:
    """One whose connection was lost before its body was whole, and nobody has said so to the stream."""
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    return SimpleNamespace(content=content, content_length=5, transport=transport, headers={})


async def test_the_body_of_a_client_that_has_gone_is_refused_as_broken_off() -> None:
    with Bodies().held() as held, pytest.raises(BadRequest, match="the client has gone"):
        await read_body(request(transport=None), 100, held)


async def test_any_other_fault_is_still_one() -> None:
    with Bodies().held() as held, pytest.raises(RuntimeError):
        await read_body(request(transport=object()), 100, held)


async def test_a_stream_of_keepalives_of_a_client_that_has_gone_ends() -> None:
    with Bodies().held() as held:
        assert await _Lines(request(transport=None)).next(held) is None

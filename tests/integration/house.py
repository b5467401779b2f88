"""The HTTP door with a store in memory behind it, and raw connections to it."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kvstore.http import HttpServer
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore

GOLDEN = Path(__file__).parents[1] / "golden" / "http"

CHUNKED = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One raw connection, so that every byte of a request is the test's own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, method: str, target: str | bytes, *lines: str, body: bytes | None = None) -> Reply:
        raw = target if isinstance(target, bytes) else target.encode()
        head = [b"%b %b HTTP/1.1" % (method.encode(), raw), b"Host: x", *(line.encode() for line in lines)]
        if body is not None:
            head.append(b"Content-Length: %d" % len(body))
        await self.send(b"\r\n".join(head) + b"\r\n\r\n" + (body or b""))
        return await self.reply(method)

    async def reply(self, method: str = "GET") -> Reply:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = b""
        if method == "HEAD":
            pass
        elif headers.get("Transfer-Encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        else:
            body = await self.reader.readexactly(int(headers["Content-Length"]))
        return Reply(int(head[0].split()[1]), headers, body)

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 10) == b""


class House:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.server = HttpServer(self.store, self.metrics, listen=("127.0.0.1", 0), shutdown_s=2.0)
        self.wires: list[Wire] = []

    async def wire(self) -> Wire:
        wire = Wire(*await asyncio.open_connection(*self.server.address))
        self.wires.append(wire)
        return wire

    async def ask(self, method: str, target: str | bytes, *lines: str, body: bytes | None = None) -> Reply:
        return await (await self.wire()).ask(method, target, *lines, body=body)


def golden(name: str, reply: Reply) -> None:
    """Compares with tests/golden/http/NAME.json; KV_GOLDEN=write writes it instead."""
    headers = {key: value for key, value in reply.headers.items() if key != "Date"}
    seen = {"status": reply.status, "headers": headers, "body": reply.json}
    path = GOLDEN / f"{name}.json"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(json.dumps(seen, indent=2) + "\n")
    expected = json.loads(path.read_text())
    assert seen == expected
    # Equal dictionaries may differ in order, and people read answers in order.
    assert list(seen["body"]) == list(expected["body"])


def exposition(house: House) -> str:
    return house.metrics.exposition("")[0].decode()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until `condition` holds; for what the server does without telling anybody."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)

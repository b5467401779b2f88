"""Plain HTTP/1.1 over one connection, with nothing that tries again behind one's back. For measurements and races."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from kvcluster.topology import HOST

_NO_HEADERS: Mapping[str, str] = {}


class Answer(NamedTuple):
    """`headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection:
    """To one node's HTTP port; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Raises OSError."""
        return cls(*await asyncio.open_connection(HOST, port))

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = _NO_HEADERS
    ) -> Answer:
        """Send a request and wait for its answer. Raises OSError or EOFError when the connection ends before."""
        self.send(method, target, body, headers)
        return await self.answer()

    def send(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Send a request."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

    async def answer(self) -> Answer:
        """The next answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    def close(self) -> None:
        """End it."""
        self._writer.close()

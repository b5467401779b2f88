"""A Redis door that says what it is told to say, and remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvstore.redis.client import RedisClient


class Door:
    """Answers the n-th command of all with the n-th of `script`; None hangs up, b"" says nothing."""

    def __init__(self, *script: bytes | None) -> None:
        self._script = list(script)
        self.commands: list[bytes] = []
        self.connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readline():
                parts = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    parts.append((await reader.readexactly(length + 2))[:-2])
                self.commands.append(b" ".join(parts))
                reply = self._script.pop(0)
                if reply is None:
                    return
                writer.write(reply)
        finally:
            writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """HOST:PORT, as long as it is there."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()

    @asynccontextmanager
    async def open(self, *first: tuple[bytes, ...]) -> AsyncIterator[RedisClient]:
        """A client of it."""
        async with self.listening() as address, RedisClient(address, *first) as client:
            yield client

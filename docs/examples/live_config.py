"""Configuration with live reload: a program reads its settings once, and then follows every change of them.

The read says at which revision it was made; the watch begins right behind it. So no change falls between the two.

    python live_config.py http://127.0.0.1:8480
"""

import asyncio
import sys

from kvstore.client import AsyncClient
from kvstore.errors import Compacted

PREFIX = b"config/shop/"


class Config:
    """The settings under PREFIX, as a dict that is kept up to date."""

    def __init__(self, client: AsyncClient) -> None:
        self.values: dict[str, str] = {}
        self.changed = asyncio.Condition()
        self._client = client

    async def follow(self) -> None:
        """Reads, then follows, for ever."""
        while True:
            page = await self._client.range(prefix=PREFIX, limit=1_000)
            await self._set({name(key): record.value.decode() for key, record in page.records})
            try:
                async with self._client.watch(prefix=PREFIX, start=page.revision + 1) as watch:
                    async for event in watch:
                        values = dict(self.values)
                        if event.value is None:
                            values.pop(name(event.key), None)
                        else:
                            values[name(event.key)] = event.value.decode()
                        await self._set(values)
            except Compacted:
                continue  # away for so long that the history is gone: read anew

    async def until(self, key: str, value: str) -> None:
        """Waits until a setting has a value."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.values.get(key) == value)

    async def _set(self, values: dict[str, str]) -> None:
        async with self.changed:
            self.values = values
            self.changed.notify_all()


def name(key: bytes) -> str:
    return key.removeprefix(PREFIX).decode()


async def main(endpoints: list[str]) -> None:
    async with AsyncClient(endpoints) as client:
        await client.put(PREFIX + b"color", b"red")
        config = Config(client)
        following = asyncio.create_task(config.follow())
        await config.until("color", "red")
        print("began with", config.values)
        await client.put(PREFIX + b"color", b"blue")  # any other process
        await config.until("color", "blue")
        print("reloaded:", config.values)
        following.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(",")))

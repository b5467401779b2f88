"""A distributed lock with fencing, and why a lock alone is not enough.

Two processes add one to a counter while they hold a lock. The first one stands still (a long garbage collection, a
laptop that sleeps) between its read and its write, for longer than its lock lives. The second one gets the lock, as it
should, and counts. Then the first one wakes and writes what it had computed: it cannot know that its time is over.

    unfenced   its write overwrites the other one's: an increment is lost
    fenced     its write carries the guard of its lock, and the store refuses it

    python fenced_lock.py http://127.0.0.1:8480
"""

import asyncio
import sys

from kvstore.client import AsyncClient, Client
from kvstore.client.txn import Comparison, Put

INCREMENTS = 2
TTL_SECONDS = 1


async def write(client: AsyncClient, key: bytes, count: int, guard: Comparison | None) -> bool:
    """Whether the store took it."""
    if guard is None:
        await client.put(key, b"%d" % count)
        return True
    return (await client.txn([guard], [Put(key, b"%d" % count)])).succeeded


def second_process(endpoints: list[str], key: bytes) -> None:
    """One increment by another one: waits for the lock, which is free once the first one's lease has expired."""
    with Client(endpoints, timeout_s=20) as client, client.lock(b"lock/" + key, TTL_SECONDS) as lock:
        count = int(client.get_value(key) or b"0")
        assert client.txn([lock.guard], [Put(key, b"%d" % (count + 1))]).succeeded


async def count(endpoints: list[str], key: bytes, *, fenced: bool) -> int:
    """Two increments, the first of which is held up in its middle. What is counted at last."""
    async with AsyncClient(endpoints, timeout_s=20) as client:
        await client.put(key, b"0")
        lock = client.lock(b"lock/" + key, TTL_SECONDS)
        await lock.acquire()
        before = int(await client.get_value(key) or b"0")

        # This blocks our event loop: nothing of ours moves, no lease is kept alive, while the other one counts.
        second_process(endpoints, key)

        if not await write(client, key, before + 1, lock.guard if fenced else None):
            print("refused: the lock had gone to another; so once more, with a new one")
            async with client.lock(b"lock/" + key, TTL_SECONDS) as again:
                before = int(await client.get_value(key) or b"0")
                assert again.token > lock.token
                assert await write(client, key, before + 1, again.guard)
        await lock.release()
        return int(await client.get_value(key) or b"0")


async def main(endpoints: list[str]) -> None:
    unfenced = await count(endpoints, b"example/unfenced", fenced=False)
    print(f"unfenced: {INCREMENTS} increments, {unfenced} counted: one is lost")
    assert unfenced == INCREMENTS - 1
    fenced = await count(endpoints, b"example/fenced", fenced=True)
    print(f"fenced: {INCREMENTS} increments, {fenced} counted")
    assert fenced == INCREMENTS


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(",")))

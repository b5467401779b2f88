"""Leader election: of several workers one leads; when it goes, the next one does.

Each worker here is a task with a client of its own; in life it is a process. What only a leader may write goes into a
transaction with `leadership.guard`: a leader that does not know yet that it was replaced is refused.

    python leader_election.py http://127.0.0.1:8480
"""

import asyncio
import sys

from kvstore.client import AsyncClient
from kvstore.client.txn import Put

ELECTION = "example/leader"


async def worker(endpoints: list[str], name: bytes, terms: list[tuple[int, bytes]]) -> None:
    async with AsyncClient(endpoints) as client, client.elect(ELECTION, name, ttl_seconds=5) as leadership:
        told = await client.txn([leadership.guard], [Put(b"example/led-by", name)])
        assert told.succeeded
        terms.append((leadership.token, name))
        print(f"{name.decode()} leads, token {leadership.token}")
        # The work of a leader. It resigns at the end of the block; `leadership.lost` says if it was deposed.


async def observe(client: AsyncClient) -> None:
    async for leader in client.elect(ELECTION).observe():
        print("the leader is", "nobody" if leader is None else leader.value.decode())


async def main(endpoints: list[str]) -> None:
    terms: list[tuple[int, bytes]] = []
    async with AsyncClient(endpoints) as client:
        observing = asyncio.create_task(observe(client))
        await asyncio.gather(*(worker(endpoints, name, terms) for name in (b"ann", b"bob", b"eve")))
        observing.cancel()
        last = await client.get_value(b"example/led-by")
    # One after the other, and the tokens rise.
    assert terms == sorted(terms)
    assert {name for _, name in terms} == {b"ann", b"bob", b"eve"}
    assert last == terms[-1][1]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(",")))

"""A work queue: each job is done by one worker at a time, and again by another one if that worker dies.

    queue/todo/NUMBER     a job; its key is its place
    queue/taken/NUMBER    who does it, under the worker's lease: gone when the worker is
    queue/done/NUMBER     its result, written in the transaction that removes the job

A job is claimed by creating its key in taken/, if nobody has, and if the job is still there. Its result counts only if
the claim still stands. So a worker that was too slow cannot finish what another one has begun anew.

    python work_queue.py http://127.0.0.1:8480
"""

import asyncio
import sys

from kvstore.client import AsyncClient
from kvstore.client.txn import Delete, Put, create_revision, exists

JOBS = 20
TODO, TAKEN, DONE = b"queue/todo/", b"queue/taken/", b"queue/done/"


async def add(client: AsyncClient, number: int, what: bytes) -> None:
    await client.put(TODO + b"%06d" % number, what, if_absent=True)


async def claim(client: AsyncClient, lease: int, worker: bytes) -> tuple[bytes, bytes, int] | None:
    """The first job that nobody does: its number, what it is, and the revision of the claim."""
    page = await client.range(prefix=TODO)
    taken = {key.removeprefix(TAKEN) for key, _ in (await client.range(prefix=TAKEN)).records}
    for key, record in page.records:
        number = key.removeprefix(TODO)
        if number in taken:
            continue
        told = await client.txn([exists(key), ~exists(TAKEN + number)], [Put(TAKEN + number, worker, lease)])
        if told.succeeded:
            return number, record.value, told.revision
    return None


async def finish(client: AsyncClient, number: bytes, claimed: int, result: bytes) -> bool:
    """Whether the result counts."""
    told = await client.txn(
        [create_revision(TAKEN + number) == claimed],
        [Put(DONE + number, result), Delete(TODO + number), Delete(TAKEN + number)],
    )
    return told.succeeded


async def worker(endpoints: list[str], name: bytes, *, dies: bool = False) -> int:
    """Works until nothing is left; how many jobs it did."""
    done = 0
    async with AsyncClient(endpoints) as client, client.lease(ttl_seconds=2) as lease:
        while True:
            page = await client.range(prefix=TODO, limit=1)
            if not page.records:
                return done
            # Whatever is changed from here on wakes us: a job that was given up, or done.
            async with client.watch(prefix=b"queue/", start=page.revision + 1) as changes:
                job = await claim(client, lease.id, name)
                if job is None:
                    await anext(changes)
                    continue
            number, what, claimed = job
            if dies:
                return done  # with its job in hand: its lease ends, and the job is free again
            done += await finish(client, number, claimed, what.upper())


async def main(endpoints: list[str]) -> None:
    async with AsyncClient(endpoints) as client:
        await client.delete_range(prefix=b"queue/")
        for number in range(JOBS):
            await add(client, number, b"job %d" % number)
        counts = await asyncio.gather(
            worker(endpoints, b"careless", dies=True), worker(endpoints, b"ann"), worker(endpoints, b"bob")
        )
        results = await client.range(prefix=DONE)
        print("jobs done by each:", counts)
        assert sum(counts) == JOBS
        assert [record.value for _, record in results.records] == [b"JOB %d" % number for number in range(JOBS)]
        assert (await client.range(prefix=TAKEN)).records == []


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(",")))

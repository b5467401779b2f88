"""Waiting for an index: whoever gives up leaves nothing behind."""

import asyncio

from kvstore.node.reads import AppliedWaits


async def test_waits_that_were_given_up_never_pile_up() -> None:
    waits = AppliedWaits()
    loop = asyncio.get_running_loop()
    kept: asyncio.Future[None] = loop.create_future()
    waits.add(5, kept)
    for _ in range(1_000):
        future: asyncio.Future[None] = loop.create_future()
        waits.add(1 << 60, future)
        future.cancel()
        waits.forget()
        assert len(waits) <= 4
    waits.reached(5)
    assert kept.done()

"""Bytes under way to one place: bounded, in turn, and given back whatever becomes of who waits."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from kvstore.node.deadlines import Deadlines, Expired
from kvstore.node.site import Site
from kvstore.node.window import Window


def window(bytes_max: int) -> tuple[Window, asyncio.AbstractEventLoop]:
    loop = asyncio.get_running_loop()
    site = SimpleNamespace(loop=loop, deadlines=Deadlines(loop, bucket_s=0.001))
    return Window(cast(Site, site), bytes_max), loop


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_does_not_fit_waits_in_turn_and_small_ones_do_not_overtake() -> None:
    bounded, loop = window(10)
    at = loop.time() + 60
    await bounded.enter(6, at)
    order: list[int] = []

    async def wait(size: int) -> None:
        await bounded.enter(size, at)
        order.append(size)

    tasks = [asyncio.create_task(wait(size)) for size in (8, 1, 2)]
    await settle()
    assert order == []
    bounded.leave(6)
    await settle()
    assert order == [8, 1]
    bounded.leave(8)
    await asyncio.gather(*tasks)
    assert order == [8, 1, 2]
    assert bounded.used == 3


async def test_one_that_is_larger_than_the_bound_goes_alone() -> None:
    bounded, loop = window(10)
    await bounded.enter(99, loop.time() + 60)
    with pytest.raises(Expired):
        await bounded.enter(1, loop.time() + 0.005)
    bounded.leave(99)
    await bounded.enter(1, loop.time() + 60)
    assert bounded.used == 1


async def test_who_gives_up_leaves_no_hole_and_takes_nobodys_turn() -> None:
    bounded, loop = window(10)
    await bounded.enter(10, loop.time() + 60)
    gone = asyncio.create_task(bounded.enter(10, loop.time() + 60))
    late = asyncio.create_task(bounded.enter(10, loop.time() + 0.005))
    patient = asyncio.create_task(bounded.enter(4, loop.time() + 60))
    await settle()
    gone.cancel()
    with pytest.raises(Expired):
        await late
    bounded.leave(10)
    await patient
    assert bounded.used == 4


async def test_a_turn_that_came_as_its_owner_was_cancelled_is_given_back() -> None:
    bounded, loop = window(10)
    await bounded.enter(10, loop.time() + 60)
    waiting = asyncio.create_task(bounded.enter(10, loop.time() + 60))
    await settle()
    bounded.leave(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bounded.used == 0

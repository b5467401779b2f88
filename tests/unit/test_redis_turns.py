"""Turns at keys: first come, first served, in every order of ends and timeouts."""

import asyncio

import pytest

from kvstore import limits
from kvstore.redis.problems import CommandError
from kvstore.redis.turns import Turns


async def test_who_came_first_has_his_turn_first() -> None:
    turns, order = Turns(asyncio.get_running_loop()), []

    async def change(name: str, *keys: bytes) -> None:
        async with turns.hold(keys):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(change("a", b"1", b"2"), change("b", b"2"), change("c", b"2", b"1"), change("d", b"3"))
    assert order[0] == "a"
    assert order.index("b") < order.index("c")
    assert len(turns) == 0


async def test_many_on_the_same_keys_in_any_order_end() -> None:
    turns, count = Turns(asyncio.get_running_loop()), 0

    async def change(number: int) -> None:
        nonlocal count
        keys = [b"%d" % (number * step % 5) for step in (3, 1, 2)]
        async with turns.hold(keys):
            await asyncio.sleep(0)
            count += 1

    await asyncio.gather(*(change(number) for number in range(100)))
    assert count == 100
    assert len(turns) == 0


async def test_who_waits_too_long_is_told_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDIS_COMMAND_S_MAX", 0.05)
    turns = Turns(asyncio.get_running_loop())
    async with turns.hold([b"b"]):
        with pytest.raises(CommandError) as busy:
            async with turns.hold([b"a", b"b"]):
                pytest.fail("it was not his turn")
        assert busy.value.reply.startswith(b"CONTENDED ")
        async with turns.hold([b"a"]):
            pass
    assert len(turns) == 0


async def test_who_is_cancelled_passes_his_turn_on() -> None:
    turns = Turns(asyncio.get_running_loop())
    entered: list[int] = []

    async def change(number: int) -> None:
        async with turns.hold([b"k"]):
            entered.append(number)

    async with turns.hold([b"k"]):
        tasks = [asyncio.create_task(change(number)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
    tasks[1].cancel()  # just when it is given to him
    await asyncio.gather(*tasks, return_exceptions=True)
    assert entered == [2]
    assert len(turns) == 0

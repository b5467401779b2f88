"""Commands of the Redis door do the same one by one, in one transaction, and on one key at the same time."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.guard import Gate
from kvstore.model.levels import Level
from kvstore.redis.changes import Changes
from kvstore.redis.commands import find
from kvstore.redis.lane import Lane
from kvstore.redis.leases import KeyLeases
from kvstore.redis.view import Call
from kvstore.telemetry.metrics import Metrics, RedisMeter
from tests.integration.memory_store import MemoryStore

KEYS = st.sampled_from([b"a", b"b", b"c"])
VALUES = st.sampled_from([b"", b"1", b"-7", b"x", b"9223372036854775807", b"long" * 50])
NUMBERS = st.sampled_from([b"1", b"-1", b"9223372036854775807", b"-9223372036854775808", b"x"])
TIMES = st.sampled_from([b"100", b"5000", b"0", b"-1"])


def words(*parts: Any) -> st.SearchStrategy[list[bytes]]:
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*drawn).map(
        lambda found: [word for part in found for word in (part if isinstance(part, tuple | list) else (part,))]
    )


OPTIONS = st.sampled_from(
    [
        (),
        (b"NX",),
        (b"XX",),
        (b"GET",),
        (b"NX", b"GET"),
        (b"XX", b"GET"),
        (b"EX", b"100"),
        (b"PX", b"5000", b"NX"),
        (b"KEEPTTL",),
        (b"NX", b"XX"),
    ]
)


def commands_of(keys: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    return st.one_of(
        words(b"SET", keys, VALUES, OPTIONS),
        words(st.sampled_from([b"SETNX", b"GETSET", b"APPEND"]), keys, VALUES),
        words(st.sampled_from([b"SETEX", b"PSETEX"]), keys, TIMES, VALUES),
        words(st.sampled_from([b"GET", b"GETDEL", b"STRLEN", b"INCR", b"DECR", b"PERSIST", b"TYPE"]), keys),
        words(st.sampled_from([b"INCRBY", b"DECRBY"]), keys, NUMBERS),
        words(st.sampled_from([b"EXPIRE", b"PEXPIRE"]), keys, TIMES, st.sampled_from([(), (b"NX",), (b"XX",)])),
        words(st.sampled_from([b"DEL", b"EXISTS", b"MGET"]), keys, keys),
        words(st.sampled_from([b"MSET", b"MSETNX"]), keys, VALUES, keys, VALUES),
    )


class House:
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.store = MemoryStore()
        lane = Lane(self.store, loop, RedisMeter(Metrics()), Gate(self.store))
        self.leases = KeyLeases(loop, lane)
        self.changes = Changes(self.store, loop, lane, self.leases)

    def content(self) -> dict[bytes, tuple[bytes, int | None]]:
        """Of each key the value, and how long it lives."""
        ttl_ms = self.store.machine.leases.ttl_ms
        return {key: (record.value, ttl_ms(record.lease)) for key, record in self.store.records.items()}


def call_of(command: list[bytes]) -> Call:
    row = find(command[0])
    assert row is not None
    assert row.pure is not None
    return Call(row.pure, command)


async def one_by_one(commands: list[list[bytes]]) -> tuple[House, list[Any]]:
    house = House()
    replies = []
    for command in commands:
        (reply,) = await house.changes.carry_out([call_of(command)], Level.QUORUM, {})
        replies.append(reply)
    return house, replies


@settings(max_examples=300, deadline=None)
@given(st.lists(commands_of(KEYS), max_size=8), st.lists(commands_of(KEYS), max_size=8))
def test_a_transaction_does_what_its_commands_do(before: list[list[bytes]], commands: list[list[bytes]]) -> None:
    async def check() -> None:
        apart, replies = await one_by_one(before + commands)
        together, told = await one_by_one(before)
        revision = together.store.revision
        calls = [call_of(command) for command in commands]
        told += await together.changes.several([b"a", b"b", b"c"], calls, Level.QUORUM, {})
        assert told == replies
        assert together.content() == apart.content()
        assert together.store.revision <= revision + 1

    asyncio.run(check())


@settings(max_examples=200, deadline=None)
@given(st.lists(commands_of(st.just(b"a")), min_size=1, max_size=10))
def test_calls_on_one_key_at_the_same_time_do_what_they_do_one_by_one(commands: list[list[bytes]]) -> None:
    async def check() -> None:
        apart, replies = await one_by_one(commands)
        house = House()
        calls = [call_of(command) for command in commands]
        told = await asyncio.gather(*(house.changes.single(b"a", call, Level.QUORUM) for call in calls))
        assert told == replies
        assert house.content() == apart.content()
        assert house.store.revision <= 1

    asyncio.run(check())


@settings(max_examples=100, deadline=None)
@given(st.lists(commands_of(KEYS), max_size=12))
def test_no_lease_is_left_that_no_key_has(commands: list[list[bytes]]) -> None:
    async def check() -> None:
        house, _ = await one_by_one(commands)
        for _ in range(10):  # what is revoked in the background
            await asyncio.sleep(0)
        leased = {record.lease for record in house.store.records.values() if record.lease}
        assert set(house.store.machine.leases) == leased
        assert {house.leases.held([key])[key] for key in house.content() if house.leases.held([key])} == leased

    asyncio.run(check())

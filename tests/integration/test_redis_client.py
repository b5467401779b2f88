"""The client of the Redis door against a door that hangs up, falls silent or talks nonsense: nothing is sent twice."""

import asyncio
import re

import pytest

from kvstore.errors import CannotConnect, ConnectionLost, DeadlineExceeded, KvError, LocalError
from kvstore.redis.client import RedisClient, parsed
from tests.support.redis_script import Door

SET = (b"SET", b"k", b"v")
GET = (b"GET", b"k")


async def test_replies_come_in_the_order_of_the_commands() -> None:
    door = Door(b"+OK\r\n", b"$1\r\nv\r\n", b"$-1\r\n", b":7\r\n", b"*2\r\n+OK\r\n$-1\r\n")
    async with door.open() as client:
        found = await client.ask(SET, GET, GET, (b"INCR", b"n"), (b"EXEC",), timeout_s=5)
    assert found == [b"OK", b"v", None, 7, [b"OK", None]]
    assert (door.connections, door.commands[0]) == (1, b"SET k v")


async def test_an_error_stands_in_the_place_of_its_reply() -> None:
    door = Door(b"-NOQUORUM none\r\n", b"-UNKNOWNOUTCOME late\r\n", b"-NOQUORUM none\r\n", b"+OK\r\n")
    async with door.open() as client:
        *failed, ok = await client.ask(SET, SET, GET, SET, timeout_s=5)
    assert [(error.code, error.outcome) for error in failed] == [
        ("no_quorum", "not_applied"),
        ("timeout", "unknown"),
        ("no_quorum", None),
    ]
    assert (ok, door.connections) == (b"OK", 1)


@pytest.mark.parametrize(
    ("said", "timeout_s", "error"),
    [(None, 5.0, ConnectionLost), (b"", 0.2, DeadlineExceeded), (b"nonsense\r\n", 5.0, ConnectionLost)],
)
async def test_what_was_sent_and_not_answered_is_unknown_and_is_not_sent_again(
    said: bytes | None, timeout_s: float, error: type[KvError | LocalError]
) -> None:
    door = Door(b"+OK\r\n", said, b"+OK\r\n", b"$1\r\nv\r\n")
    async with door.open() as client:
        done, *lost = await client.ask(SET, (b"SET", b"k", b"2"), timeout_s=timeout_s)
        assert (done, [type(each) for each in lost]) == (b"OK", [error])
        assert getattr(lost[0], "outcome", "unknown") == "unknown"
        # What comes next comes on a new connection: no late answer is taken for its own.
        assert await client.ask((b"SET", b"k", b"3"), GET, timeout_s=5) == [b"OK", b"v"]
    assert door.commands == [b"SET k v", b"SET k 2", b"SET k 3", b"GET k"]
    assert door.connections == 2


async def test_a_read_that_is_late_has_no_outcome() -> None:
    async with Door(b"").open() as client:
        with pytest.raises(DeadlineExceeded) as late:
            await client.one(*GET, timeout_s=0.2)
    assert late.value.outcome is None


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with RedisClient("127.0.0.1:1") as client:
        assert [type(each) for each in await client.ask(SET, SET, timeout_s=5)] == [CannotConnect] * 2


async def test_every_connection_begins_with_what_it_is_to_begin_with() -> None:
    door = Door(b"+OK\r\n", None, b"+OK\r\n", b"+OK\r\n")
    async with door.open((b"KV.LEVEL", b"all")) as client:
        assert [type(each) for each in await client.ask(SET, timeout_s=5)] == [ConnectionLost]
        assert await client.one(*SET, timeout_s=5) == b"OK"
    assert door.commands == [b"KV.LEVEL all", b"SET k v"] * 2


async def test_a_beginning_that_is_refused_sends_nothing_else() -> None:
    door = Door(b"-ERR no\r\n")
    async with door.open((b"KV.LEVEL", b"most")) as client:
        with pytest.raises(CannotConnect, match="ERR no"):
            await client.one(*SET, timeout_s=5)
    assert door.commands == [b"KV.LEVEL most"]


async def test_who_gives_up_waiting_leaves_no_answer_to_the_next() -> None:
    door = Door(b"", b"$1\r\nv\r\n")
    async with door.open() as client:
        asking = asyncio.create_task(client.one(b"GET", b"first", timeout_s=60))
        while not door.commands:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await client.one(*GET, timeout_s=5) == b"v"
    assert door.connections == 2


@pytest.mark.parametrize("address", ["127.0.0.1", ":6379", "host:0", "host:65536", "host:x", ""])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(address))):
        parsed(address)
    assert (parsed("[::1]:6379"), parsed("h:1")) == (("::1", 6379), ("h", 1))

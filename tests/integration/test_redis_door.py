"""The Redis door over a real socket: a listening server on loopback, a store in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from hiredis import Reader, ReplyError
from structlog.testing import capture_logs

from kvstore import limits
from kvstore.errors import DeadlineExceeded, MembersUnreachable, NoQuorum, Overloaded
from kvstore.model import commands
from kvstore.model.levels import Level
from kvstore.redis import RedisServer
from kvstore.redis.problems import MEANINGS
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore


class Wire:
    """One raw connection, so that every byte of a command is the test's own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = Reader()

    def send(self, *words: bytes | str | int) -> None:
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.writer.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))

    async def reply(self) -> Any:
        while (found := self._parser.gets()) is False:
            data = await asyncio.wait_for(self.reader.read(65_536), 10)
            if not data:
                raise EOFError
            self._parser.feed(data)
        return found

    async def ask(self, *words: bytes | str | int) -> Any:
        self.send(*words)
        return await self.reply()

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 10) == b""


class House:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.server = RedisServer(self.store, self.metrics, listen=("127.0.0.1", 0), shutdown_s=2.0, drain_s=0.1)
        self.wires: list[Wire] = []

    async def wire(self) -> Wire:
        wire = Wire(*await asyncio.open_connection(*self.server.address))
        self.wires.append(wire)
        return wire

    def value(self, key: bytes) -> bytes | None:
        record = self.store.records.get(key)
        return None if record is None else record.value


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.server.start()
    yield house
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()


def told(found: object) -> str:
    assert isinstance(found, ReplyError), found
    word = str(found).split(" ", 1)[0]
    assert word in MEANINGS
    return str(found)


# -- strings


async def test_a_value_is_set_read_and_overwritten(house: House) -> None:
    wire = await house.wire()
    assert await wire.ask("SET", "k", b"\x00\xff\r\n") == b"OK"
    assert await wire.ask("GET", "k") == b"\x00\xff\r\n"
    assert await wire.ask("get", "absent") is None
    assert await wire.ask("Set", "k", "") == b"OK"
    assert await wire.ask("gEt", "k") == b""
    assert await wire.ask("STRLEN", "k") == 0
    assert house.value(b"k") == b""


async def test_conditions_of_set(house: House) -> None:
    wire = await house.wire()
    assert await wire.ask("SET", "k", 1, "XX") is None
    assert await wire.ask("SET", "k", 1, "NX") == b"OK"
    assert await wire.ask("SET", "k", 2, "NX") is None
    assert await wire.ask("SET", "k", 3, "xx", "get") == b"1"
    assert await wire.ask("SET", "k", 4, "NX", "GET") == b"3"
    assert await wire.ask("SET", "new", 5, "GET") is None
    assert (house.value(b"k"), house.value(b"new")) == (b"3", b"5")
    assert told(await wire.ask("SET", "k", 1, "NX", "XX")) == "ERR syntax error"
    assert told(await wire.ask("SET", "k", 1, "EX")) == "ERR syntax error"
    assert told(await wire.ask("SET", "k", 1, "EX", 1, "KEEPTTL")) == "ERR syntax error"
    assert told(await wire.ask("SET", "k", 1, "EX", "x")) == "ERR value is not an integer or out of range"
    assert told(await wire.ask("SET", "k", 1, "EX", 0)) == "ERR invalid expire time in 'set' command"
    assert "EXAT of SET is not supported" in told(await wire.ask("SET", "k", 1, "EXAT", 1))


async def test_the_older_ways_to_set(house: House) -> None:
    wire = await house.wire()
    assert [await wire.ask("SETNX", "k", 1), await wire.ask("SETNX", "k", 2)] == [1, 0]
    assert await wire.ask("GETSET", "k", 3) == b"1"
    assert await wire.ask("GETDEL", "k") == b"3"
    assert await wire.ask("GETDEL", "k") is None
    assert await wire.ask("APPEND", "k", "ab") == 2
    assert await wire.ask("APPEND", "k", "cd") == 4
    assert house.value(b"k") == b"abcd"


async def test_many_keys_at_one_revision(house: House) -> None:
    wire = await house.wire()
    before = house.store.revision
    assert await wire.ask("MSET", "a", 1, "b", 2, "a", 3) == b"OK"
    assert house.store.revision == before + 1
    assert await wire.ask("MGET", "a", "b", "c") == [b"3", b"2", None]
    assert await wire.ask("MSETNX", "b", 9, "c", 9) == 0
    assert await wire.ask("MSETNX", "c", 4, "d", 5) == 1
    assert await wire.ask("EXISTS", "a", "a", "x", "d") == 3
    assert await wire.ask("DEL", "a", "b", "x", "a") == 2
    assert await wire.ask("UNLINK", "c") == 1
    assert await wire.ask("UNLINK", "c") == 0
    assert [await wire.ask("TYPE", "d"), await wire.ask("TYPE", "a")] == [b"string", b"none"]
    assert "wrong number of arguments" in told(await wire.ask("MSET", "a", 1, "b"))


async def test_numbers_are_those_of_redis(house: House) -> None:
    wire = await house.wire()
    assert [await wire.ask("INCR", "n"), await wire.ask("INCRBY", "n", 41)] == [1, 42]
    assert [await wire.ask("DECR", "n"), await wire.ask("DECRBY", "n", -9)] == [41, 50]
    top = (1 << 63) - 1
    await wire.ask("SET", "n", top)
    assert told(await wire.ask("INCR", "n")) == "ERR increment or decrement would overflow"
    assert await wire.ask("DECRBY", "n", top) == 0
    for written in ("", " 1", "1 ", "+1", "01", "1.0", str(1 << 63), "a"):
        await wire.ask("SET", "n", written)
        assert told(await wire.ask("INCR", "n")) == "ERR value is not an integer or out of range", written
    assert told(await wire.ask("DECRBY", "n", -(1 << 63))) == "ERR decrement would overflow"


async def test_calls_on_one_key_that_wait_together_are_written_together(house: House) -> None:
    wires = [await house.wire() for _ in range(20)]
    house.store.gate = asyncio.Event()
    first = asyncio.create_task(wires[0].ask("INCR", "n"))
    await house.store.entered.wait()
    rest = [asyncio.create_task(wire.ask("INCR", "n")) for wire in wires[1:]]
    other = await house.wire()
    await other.ask("PING")  # what was sent before has arrived
    before = house.store.revision
    house.store.gate.set()
    assert sorted(await asyncio.gather(first, *rest)) == list(range(1, 21))
    assert house.value(b"n") == b"20"
    assert house.store.revision <= before + 3


async def test_a_lost_comparison_is_tried_again_and_an_unknown_outcome_is_not(house: House) -> None:
    wire = await house.wire()
    await wire.ask("SET", "n", 1)
    store, judged = house.store, house.store._judged

    def interfere(op: commands.Op) -> Any:
        store._judged = judged  # type: ignore[method-assign]
        judged(commands.put(b"n", b"10"))
        return judged(op)

    store._judged = interfere  # type: ignore[method-assign]
    assert await wire.ask("INCR", "n") == 11

    def lose(op: commands.Op) -> Any:
        judged(op)
        raise DeadlineExceeded("nobody knows")

    store._judged = lose  # type: ignore[method-assign]
    assert told(await wire.ask("INCR", "n")).startswith("UNKNOWNOUTCOME ")
    store._judged = judged  # type: ignore[method-assign]
    assert await wire.ask("GET", "n") == b"12"


# -- the order of a connection


async def test_replies_come_in_the_order_of_the_commands(house: House) -> None:
    wire = await house.wire()
    for number in range(300):
        wire.send("SET", "k", number)
        wire.send("GET", "k")
        wire.send("ECHO", number)
        wire.send("INCR", "n")
    for number in range(300):
        expected = [b"OK", b"%d" % number, b"%d" % number, number + 1]
        assert [await wire.reply() for _ in expected] == expected


async def test_sets_that_stand_together_are_applied_in_their_order(house: House) -> None:
    wire = await house.wire()
    for number in range(1_000):
        wire.send("SET", f"k{number % 7}", number)
    assert [await wire.reply() for _ in range(1_000)] == [b"OK"] * 1_000
    assert {house.value(b"k%d" % place) for place in range(7)} == {b"%d" % number for number in range(993, 1_000)}


async def test_a_flood_of_one_client_leaves_others_their_turn(house: House) -> None:
    flood, other = await house.wire(), await house.wire()
    number = await flood.ask("CLIENT", "ID")
    (connection,) = [each for each in house.server._connections if each.session.id == number]
    count = 10 * limits.REDIS_RUN_COMMANDS_MAX
    connection.data_received(b"*1\r\n$4\r\nPING\r\n" * count)
    assert not connection.idle
    for number in range(3):
        assert await other.ask("ECHO", number) == b"%d" % number
    assert [await flood.reply() for _ in range(count)] == [b"PONG"] * count
    assert connection.idle


async def test_one_failed_command_does_not_stop_the_next(house: House) -> None:
    wire = await house.wire()
    wire.send("SET", "", "x")
    wire.send("SET", "k" * (limits.KEY_BYTES_MAX + 1), "x")
    wire.send("NONSENSE", "a")
    wire.send("GET")
    wire.send("SET", "k", "v")
    assert "a key has one byte at least" in told(await wire.reply())
    assert told(await wire.reply()).startswith("TOOLARGE ")
    assert told(await wire.reply()) == "ERR unknown command 'NONSENSE', with args beginning with: 'a'"
    assert told(await wire.reply()) == "ERR wrong number of arguments for 'get' command"
    assert await wire.reply() == b"OK"


# -- times to live


async def test_a_time_to_live_is_a_lease_of_its_own(house: House) -> None:
    wire = await house.wire()
    assert await wire.ask("SET", "k", "v", "EX", 100) == b"OK"
    assert await wire.ask("TTL", "k") == 100
    assert await wire.ask("PTTL", "k") == 100_000
    lease = house.store.records[b"k"].lease
    assert house.store.machine.leases.keys(lease) == [b"k"]
    assert await wire.ask("SET", "k", "w", "KEEPTTL") == b"OK"
    assert await wire.ask("APPEND", "k", "x") == 2
    assert house.store.records[b"k"].lease == lease
    assert await wire.ask("EXPIRE", "k", 7) == 1
    assert await wire.ask("TTL", "k") == 7
    assert await wire.ask("PERSIST", "k") == 1
    assert await wire.ask("PERSIST", "k") == 0
    assert [await wire.ask("TTL", "k"), await wire.ask("TTL", "absent")] == [-1, -2]
    assert await wire.ask("SETEX", "k", 5, "v") == b"OK"
    assert await wire.ask("PSETEX", "k", 20, "v") == b"OK"
    assert await wire.ask("PTTL", "k") == limits.LEASE_TTL_MS_MIN
    assert await wire.ask("EXPIRE", "k", 0) == 1
    assert await wire.ask("EXISTS", "k") == 0
    assert await wire.ask("EXPIRE", "k", 10) == 0


async def test_options_of_expire(house: House) -> None:
    wire = await house.wire()
    await wire.ask("SET", "k", "v")
    assert await wire.ask("EXPIRE", "k", 10, "XX") == 0
    assert await wire.ask("EXPIRE", "k", 10, "NX") == 1
    assert await wire.ask("PEXPIRE", "k", 20_000, "NX") == 0
    assert await wire.ask("PEXPIRE", "k", 20_000, "XX") == 1
    assert await wire.ask("TTL", "k") == 20
    assert "GT of EXPIRE is not supported" in told(await wire.ask("EXPIRE", "k", 10, "GT"))
    assert told(await wire.ask("EXPIRE", "k", 1 << 40)) == "ERR invalid expire time in 'expire' command"


async def test_leases_that_are_not_needed_any_more_are_revoked(house: House) -> None:
    wire = await house.wire()
    for number in range(5):
        await wire.ask("SET", "k", number, "EX", 100)
    await wire.ask("SET", "other", 1, "EX", 100)
    await wire.ask("SET", "k", "plain")
    await wire.ask("DEL", "other")
    await wire.ask("SET", "k", 1, "NX", "EX", 100)
    for _ in range(100):
        if not len(house.store.machine.leases):
            break
        await wire.ask("PING")
    assert len(house.store.machine.leases) == 0
    assert house.value(b"k") == b"plain"


async def test_a_lease_of_somebody_else_is_told_and_left_alone(house: House) -> None:
    lease = (await house.store.leases.grant(60_000, once=None, timeout_s=1)).id
    house.store._apply(commands.put(b"k", b"v", None, None, lease))
    wire = await house.wire()
    assert await wire.ask("TTL", "k") == 60
    assert await wire.ask("EXPIRE", "k", 5) == 1
    await wire.ask("SET", "k", "w")
    await wire.ask("PING")
    assert lease in house.store.machine.leases


# -- transactions


async def test_what_is_queued_is_applied_at_one_revision(house: House) -> None:
    wire = await house.wire()
    await wire.ask("SET", "n", 5)
    before = house.store.revision
    assert await wire.ask("MULTI") == b"OK"
    for words in (
        ("SET", "a", 1),
        ("INCR", "n"),
        ("GET", "n"),
        ("APPEND", "a", 0),
        ("INCR", "a"),
        ("DEL", "n"),
        ("EXISTS", "n"),
        ("MGET", "a", "n"),
        ("INCR", "text"),
        ("SET", "text", "x", "EX", 10),
        ("INCR", "text"),
        ("PING",),
    ):
        assert await wire.ask(*words) == b"QUEUED"
    *found, failed, _ = await wire.ask("EXEC")
    assert found == [b"OK", 6, b"6", 2, 11, 1, 0, [b"11", None], 1, b"OK"]
    assert told(failed) == "ERR value is not an integer or out of range"
    assert house.store.revision == before + 1
    assert (house.value(b"a"), house.value(b"n"), house.value(b"text")) == (b"11", None, b"x")
    assert await wire.ask("TTL", "text") == 10


async def test_watched_keys(house: House) -> None:
    wire, other = await house.wire(), await house.wire()
    assert await wire.ask("WATCH", "k", "l") == b"OK"
    await other.ask("SET", "l", 1)
    await wire.ask("MULTI")
    await wire.ask("SET", "k", 2)
    assert await wire.ask("EXEC") is None
    assert house.value(b"k") is None
    await wire.ask("WATCH", "k")
    await other.ask("SET", "k", 1)
    assert await wire.ask("UNWATCH") == b"OK"
    await wire.ask("MULTI")
    await wire.ask("SET", "k", 3)
    assert await wire.ask("EXEC") == [b"OK"]
    await wire.ask("WATCH", "k")
    await wire.ask("MULTI")
    await wire.ask("GET", "k")
    await other.ask("DEL", "k")
    assert await wire.ask("EXEC") is None


async def test_refusals_of_transactions(house: House) -> None:
    wire = await house.wire()
    assert told(await wire.ask("EXEC")) == "ERR EXEC without MULTI"
    assert told(await wire.ask("DISCARD")) == "ERR DISCARD without MULTI"
    await wire.ask("MULTI")
    assert told(await wire.ask("MULTI")) == "ERR MULTI calls can not be nested"
    assert told(await wire.ask("WATCH", "k")) == "ERR WATCH inside MULTI is not allowed"
    await wire.ask("SET", "k", 1)
    assert await wire.ask("DISCARD") == b"OK"
    assert house.value(b"k") is None
    for words in (("GET",), ("NONSENSE",), ("SCAN", 0), ("LPUSH", "a", "b"), ("TTL", "k")):
        await wire.ask("MULTI")
        await wire.ask("SET", "k", 1)
        told(await wire.ask(*words))
        assert told(await wire.ask("EXEC")).startswith("EXECABORT ")
    await wire.ask("MULTI")
    for number in range(limits.REDIS_QUEUED_COMMANDS_MAX):
        assert await wire.ask("SET", number, 1) == b"QUEUED"
    assert told(await wire.ask("SET", "more", 1)).startswith("TOOLARGE ")
    assert told(await wire.ask("EXEC")).startswith("EXECABORT ")
    await wire.ask("MULTI")
    for number in range(limits.REDIS_QUEUED_COMMANDS_MAX):
        await wire.ask("INCR", number)
    assert told(await wire.ask("EXEC")).startswith("TOOLARGE ")
    assert house.value(b"1") is None
    assert await wire.ask("MULTI") == b"OK"
    assert await wire.ask("EXEC") == []


# -- walking over keys


async def test_scan_sees_every_key_once_from_any_connection(house: House) -> None:
    wires = [await house.wire(), await house.wire()]
    names = {b"key:%d" % number for number in range(57)}
    for name in names | {b"other"}:
        await wires[0].ask("SET", name, 1)
    found: list[bytes] = []
    cursor, turn = b"0", 0
    while True:
        cursor, some = await wires[turn % 2].ask("SCAN", cursor, "MATCH", "key:*", "COUNT", 5)
        found += some
        turn += 1
        if cursor == b"0":
            break
    assert turn > 5
    assert sorted(found) == sorted(names)
    assert await wires[0].ask("SCAN", 0, "TYPE", "list") == [b"0", []]
    assert set(await wires[0].ask("KEYS", "*")) == names | {b"other"}
    assert await wires[0].ask("KEYS", "key:1?") == [b"key:1%d" % number for number in range(10)]
    assert await wires[0].ask("DBSIZE") == 58
    assert "did not give it" in told(await wires[0].ask("SCAN", 12345))
    assert told(await wires[0].ask("SCAN", 0, "COUNT", 0)) == "ERR syntax error"


# -- levels


async def test_level_one(house: House) -> None:
    wire, other = await house.wire(), await house.wire()
    await wire.ask("SET", "k", "old")
    assert await wire.ask("KV.LEVEL") == [b"quorum", b"quorum"]
    assert await wire.ask("KV.LEVEL", "one") == b"OK"
    assert await wire.ask("SET", "k", "new") == b"OK"
    assert await wire.ask("GET", "k") == b"new"
    assert await other.ask("GET", "k") == b"old"
    receipt = await wire.ask("KV.RECEIPT")
    assert (await wire.ask("KV.RECEIPT", receipt))[3] == b"pending"
    assert await wire.ask("WAIT", 1, 20) == 0
    house.store.hand_over()
    assert (await wire.ask("KV.RECEIPT", receipt))[3] == b"committed"
    assert await wire.ask("WAIT", 1, 0) == 1
    assert await other.ask("GET", "k") == b"new"
    assert await wire.ask("DEL", "k", "absent") == 2
    assert await wire.ask("EXISTS", "k") == 0
    for words in (
        ("INCR", "n"),
        ("SET", "k", 1, "NX"),
        ("SET", "k", 1, "EX", 5),
        ("MSET", "k", 1),
        ("APPEND", "k", 1),
        ("EXPIRE", "k", 1),
    ):
        assert told(await wire.ask(*words)).startswith("LEVELONE "), words
    await wire.ask("MULTI")
    assert told(await wire.ask("SET", "k", 1)).startswith("LEVELONE ")
    assert told(await wire.ask("EXEC")).startswith("EXECABORT ")
    assert told(await wire.ask("KV.LEVEL", "two")).startswith("ERR ")


async def test_readonly_reads_at_level_one_and_writes_as_before(house: House) -> None:
    wire = await house.wire()
    assert await wire.ask("READONLY") == b"OK"
    assert await wire.ask("KV.LEVEL") == [b"quorum", b"one"]
    await wire.ask("SET", "k", 1)
    house.store.calls.clear()
    assert await wire.ask("GET", "k") == b"1"
    assert house.store.calls == [("freshen", Level.ONE)]
    await wire.ask("READWRITE")
    house.store.calls.clear()
    assert await wire.ask("GET", "k") == b"1"
    assert house.store.calls == [("freshen", Level.QUORUM)]


async def test_level_all_asks_every_voter(house: House) -> None:
    wire = await house.wire()
    await wire.ask("KV.LEVEL", "all")
    await wire.ask("SET", "k", 1)
    assert house.store.calls[-1] == ("write_batch", commands.put(b"k", b"1"), Level.ALL)
    assert await wire.ask("MGET", "k", "l") == [b"1", None]
    assert house.store.calls[-2:] == [("read_all", b"k"), ("read_all", b"l")]
    assert await wire.ask("INCR", "k") == 2
    assert "level one or quorum" in told(await wire.ask("KEYS", "*"))


# -- errors


@pytest.mark.parametrize(
    ("failed", "write", "read"),
    [
        (NoQuorum("n"), "NOQUORUM", "NOQUORUM"),
        (DeadlineExceeded("late"), "UNKNOWNOUTCOME", None),
        (DeadlineExceeded("late", outcome="committed", missing=("n3",)), "LEVELNOTMET", None),
        (DeadlineExceeded("late", read=True), None, "TIMEOUT"),
        (Overloaded("full"), "OVERLOADED", "OVERLOADED"),
        (MembersUnreachable("one\r\naway"), "MEMBERSUNREACHABLE", "MEMBERSUNREACHABLE"),
        (RuntimeError("a fault"), "UNKNOWNOUTCOME", "INTERNAL"),
    ],
)
async def test_what_the_store_says_has_a_stable_first_word(
    house: House, failed: Exception, write: str | None, read: str | None
) -> None:
    wire = await house.wire()
    house.store.fail = failed
    with capture_logs():
        if write is not None:
            for words in (("SET", "k", 1), ("MSET", "k", 1), ("DEL", "k")):
                assert told(await wire.ask(*words)).split()[0] == write
        if read is not None:
            for words in (("GET", "k"), ("MGET", "k"), ("WATCH", "k")):
                assert told(await wire.ask(*words)).split()[0] == read
    house.store.fail = None
    assert await wire.ask("SET", "k", 1) == b"OK"


async def test_commands_of_redis_that_are_not_here_say_so_by_name(house: House) -> None:
    wire = await house.wire()
    assert (
        told(await wire.ask("lpush", "a", "b"))
        == "ERR LPUSH is not supported: values are strings here; there are no lists"
    )
    assert told(await wire.ask("PUBLISH", "a", "b")).startswith("ERR PUBLISH is not supported")
    assert told(await wire.ask("CONFIG", "SET", "a", "b")).startswith("ERR CONFIG SET is not supported")
    assert told(await wire.ask("CLIENT", "KILL", "a")) == "ERR CLIENT KILL is not supported"
    assert told(await wire.ask("SELECT", 1)) == "ERR DB index is out of range"
    assert told(await wire.ask("AUTH", "secret")).startswith("ERR AUTH <password> called without any password")


# -- bytes that are no commands


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n:1\r\n",
        b"*1\r\n*1\r\n$4\r\nPING\r\n",
        b"*x\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$4\r\nPING\r\n*1000000000\r\n",
        b"*99999999999999999999\r\n",
        b"*2000\r\n",
        b'"unbalanced\r\n',
        b"x" * (limits.REDIS_INLINE_BYTES_MAX + 10),
        b"*" + b"1" * 40,
        b"*1\r\n$" + b"1" * 40,
        b"*1\r\n$99999999999\r\n",
    ],
)
async def test_bad_bytes_end_the_connection_and_nothing_else(house: House, data: bytes) -> None:
    wire, other = await house.wire(), await house.wire()
    wire.writer.write(data)
    found = await wire.reply()
    if found == b"PONG":
        found = await wire.reply()
    assert told(found)
    assert await wire.closed()
    assert await other.ask("PING") == b"PONG"


async def test_a_value_that_is_too_large_is_refused_and_the_connection_goes_on(house: House) -> None:
    wire = await house.wire()
    large = b"x" * (limits.VALUE_BYTES_MAX + 1)
    assert await wire.ask("SET", "k", large[1:]) == b"OK"
    assert await wire.ask("GET", "k") == large[1:]
    wire.send("SET", "k", large)
    wire.send("PING")
    assert told(await wire.reply()).startswith("TOOLARGE ")
    assert await wire.reply() == b"PONG"
    assert told(await wire.ask("APPEND", "k", "y")).startswith("TOOLARGE ")
    assert told(await wire.ask("MSET", *(word for n in range(5) for word in (n, large[1:])))).startswith("TOOLARGE ")
    assert await wire.ask("DBSIZE") == 1


async def test_commands_may_arrive_byte_by_byte_and_as_lines(house: House) -> None:
    wire = await house.wire()
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n*1\r\nx\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n":
        wire.writer.write(bytes((byte,)))
        await wire.writer.drain()
        await asyncio.sleep(0)
    assert [await wire.reply(), await wire.reply()] == [b"OK", b"*1\r\nx"]
    wire.writer.write(
        b"\r\nset line 'two words'\r\n  get   line\nECHO \"\\x41\\n\"\r\n*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n"
    )
    assert [await wire.reply() for _ in range(4)] == [b"OK", b"two words", b"A\n", b"PONG"]


async def test_a_value_that_looks_like_the_protocol(house: House) -> None:
    wire = await house.wire()
    strange = b"*1000000000\r\n>99999\r\n$5\r\n"
    wire.send("SET", "k", strange)
    wire.send("GET", "k")
    assert [await wire.reply(), await wire.reply()] == [b"OK", strange]


async def test_what_is_no_array_is_a_line(house: House) -> None:
    wire = await house.wire()
    wire.writer.write(b"*1\r\n$4\r\nPING\r\n>1000000000\r\n")
    assert await wire.reply() == b"PONG"
    assert told(await wire.reply()).startswith("ERR unknown command '>1000000000'")


async def test_who_sends_much_and_reads_nothing_is_not_read_any_more(house: House) -> None:
    wire = await house.wire()
    await wire.ask("SET", "k", b"x" * 100_000)
    command = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
    count = 20_000
    wire.writer.write(command * count)
    await asyncio.sleep(0.2)
    assert house.server._services is not None
    assert house.server._services.held < 4 * limits.REDIS_PIPELINE_BYTES_MAX
    for _ in range(50):
        assert len(await wire.reply()) == 100_000


@pytest.mark.parametrize("last", [(), ("QUIT",)])
async def test_who_does_not_read_is_cut_off(
    house: House, monkeypatch: pytest.MonkeyPatch, last: tuple[str, ...]
) -> None:
    monkeypatch.setattr(limits, "REDIS_WRITE_S_MAX", 0.2)
    wire, other = await house.wire(), await house.wire()
    await wire.ask("SET", "k", b"x" * limits.VALUE_BYTES_MAX)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(60):
        wire.send("GET", "k")
    if last:
        wire.send(*last)
    while len(house.server.sessions()) > 1:
        await other.ask("PING")
        await asyncio.sleep(0.01)
    assert house.server._services is not None
    assert house.server._services.held == 0


async def test_a_client_that_hangs_up_is_answered_first(house: House) -> None:
    wire = await house.wire()
    wire.send("SET", "k", 1)
    wire.send("GET", "k")
    wire.writer.write_eof()
    assert [await wire.reply(), await wire.reply()] == [b"OK", b"1"]
    assert await wire.closed()


async def test_too_many_connections(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDIS_CONNECTIONS_MAX", 2)
    wires = [await house.wire() for _ in range(3)]
    assert await wires[0].ask("PING") == b"PONG"
    assert await wires[1].ask("PING") == b"PONG"
    assert told(await wires[2].reply()).startswith("OVERLOADED ")
    assert await wires[2].closed()


async def test_one_address_does_not_take_all_connections(house: House) -> None:
    house.server._addresses.most = 2
    wires = [await house.wire() for _ in range(3)]
    assert await wires[0].ask("PING") == b"PONG"
    assert told(await wires[2].reply()).startswith("OVERLOADED this address")
    assert await wires[2].closed()
    wires[0].writer.close()
    wires[1].writer.close()
    async with asyncio.timeout(10):
        while len(house.server._addresses):
            await asyncio.sleep(0.01)
    assert await (await house.wire()).ask("PING") == b"PONG"


# -- the connection


async def test_protocol_three(house: House) -> None:
    wire = await house.wire()
    hello = await wire.ask("HELLO", 3, "SETNAME", "me")
    assert (hello[b"server"], hello[b"proto"], hello[b"role"]) == (b"kvstore", 3, b"master")
    assert await wire.ask("CLIENT", "GETNAME") == b"me"
    assert await wire.ask("CONFIG", "GET", "save", "append*") == {
        b"save": b"",
        b"appendfsync": b"always",
        b"appendonly": b"yes",
    }
    wire.send("GET", "absent")
    assert await wire.reader.readexactly(3) == b"_\r\n"
    assert told(await wire.ask("HELLO", 4)).startswith("NOPROTO ")
    assert await wire.ask("RESET") == b"RESET"
    wire.send("GET", "absent")
    assert await wire.reader.readexactly(5) == b"$-1\r\n"


async def test_what_a_client_says_of_itself(house: House) -> None:
    wire = await house.wire()
    assert await wire.ask("CLIENT", "SETINFO", "LIB-NAME", "redis-py") == b"OK"
    assert await wire.ask("CLIENT", "SETNAME", "a b") is not None
    assert await wire.ask("CLIENT", "NO-EVICT", "on") == b"OK"
    number = await wire.ask("CLIENT", "ID")
    line = (await wire.ask("CLIENT", "LIST")).decode()
    assert f"id={number} " in line
    assert "lib-name=redis-py" in line
    assert (await wire.ask("CLIENT", "INFO")).decode().startswith(f"id={number} ")
    assert await wire.ask("QUIT") == b"OK"
    assert await wire.closed()


async def test_info_and_metrics_tell_what_is_true(house: House) -> None:
    wire = await house.wire()
    await wire.ask("SET", "k", 1)
    await wire.ask("GET", "k")
    await wire.ask("NONSENSE")
    text = (await wire.ask("INFO")).decode()
    assert "# Keyspace\r\ndb0:keys=1\r\n" in text
    assert "kv_leader:n1\r\n" in text
    assert "connected_clients:1\r\n" in text
    assert (await wire.ask("INFO", "keyspace")).decode() == "# Keyspace\r\ndb0:keys=1\r\n"
    shown = house.metrics.exposition("")[0].decode()
    assert 'kv_redis_commands_total{command="SET",outcome="ok"} 1.0' in shown
    assert 'kv_redis_commands_total{command="other",outcome="ERR"} 1.0' in shown
    assert 'kv_redis_wait_seconds_count{kind="write",level="quorum"} 1.0' in shown
    assert "kv_redis_connections 1.0" in shown


# -- subscriptions


async def test_changes_of_a_key_are_told(house: House) -> None:
    wire, other = await house.wire(), await house.wire()
    assert await wire.ask("SUBSCRIBE", "__keyspace@0__:k", "__keyevent@0__:del") == [
        b"subscribe",
        b"__keyspace@0__:k",
        1,
    ]
    assert await wire.reply() == [b"subscribe", b"__keyevent@0__:del", 2]
    await other.ask("SET", "k", 1)
    await other.ask("SET", "l", 1)
    assert await wire.reply() == [b"message", b"__keyspace@0__:k", b"set"]
    assert await wire.ask("PING") == [b"pong", b""]
    assert "only (P)SUBSCRIBE" in told(await wire.ask("GET", "k"))
    await other.ask("DEL", "k")
    assert sorted([await wire.reply(), await wire.reply()]) == [
        [b"message", b"__keyevent@0__:del", b"k"],
        [b"message", b"__keyspace@0__:k", b"del"],
    ]
    assert await wire.ask("UNSUBSCRIBE", "__keyspace@0__:k") == [b"unsubscribe", b"__keyspace@0__:k", 1]
    assert await wire.ask("UNSUBSCRIBE") == [b"unsubscribe", b"__keyevent@0__:del", 0]
    assert await wire.ask("UNSUBSCRIBE") == [b"unsubscribe", None, 0]
    assert await wire.ask("GET", "l") == b"1"


async def test_patterns_and_pushes(house: House) -> None:
    wire, other = await house.wire(), await house.wire()
    await wire.ask("HELLO", 3)
    assert await wire.ask("PSUBSCRIBE", "__keyspace@0__:user:*", "__key*__:*") == [
        b"psubscribe",
        b"__keyspace@0__:user:*",
        1,
    ]
    assert (await wire.reply())[2] == 2
    await other.ask("MSET", "user:1", 1, "x", 2)
    space, every = b"__keyspace@0__:user:*", b"__key*__:*"
    found = [await wire.reply() for _ in range(5)]
    assert sorted(found) == sorted(
        [
            [b"pmessage", space, b"__keyspace@0__:user:1", b"set"],
            [b"pmessage", every, b"__keyspace@0__:user:1", b"set"],
            [b"pmessage", every, b"__keyevent@0__:set", b"user:1"],
            [b"pmessage", every, b"__keyspace@0__:x", b"set"],
            [b"pmessage", every, b"__keyevent@0__:set", b"x"],
        ]
    )
    assert await wire.ask("GET", "x") == b"2"
    assert (await wire.ask("PUNSUBSCRIBE"))[0] == b"punsubscribe"


async def test_nobody_listens_to_what_nobody_tells(house: House) -> None:
    wire = await house.wire()
    assert "nobody publishes to 'news'" in told(await wire.ask("SUBSCRIBE", "__keyspace@0__:k", "news"))
    assert "nobody publishes" in told(await wire.ask("PSUBSCRIBE", "news*"))
    names = [f"__keyspace@0__:{number}" for number in range(limits.REDIS_SUBSCRIPTIONS_MAX + 1)]
    assert told(await wire.ask("SUBSCRIBE", *names)).startswith("TOOLARGE ")
    assert await wire.ask("GET", "k") is None


async def test_a_subscriber_that_lags_is_told_and_closed(house: House) -> None:
    wire, other = await house.wire(), await house.wire()
    await wire.ask("SUBSCRIBE", "__keyspace@0__:k")
    assert house.store.watches is not None
    (watch,) = list(house.store.watches._all)
    (session,) = [each for each in house.server.sessions() if each.subscriptions]
    (connection,) = [each for each in house.server._connections if each.session is session]
    connection.pause_writing()
    for number in range(limits.WATCH_QUEUE_CHANGES_MAX + 200):
        other.send("SET", "k", number)
        await other.reply()
    connection.resume_writing()
    assert watch.ended is not None
    while not isinstance(found := await wire.reply(), ReplyError):
        assert found == [b"message", b"__keyspace@0__:k", b"set"]
    assert told(found).startswith("LAGGED ")
    assert await wire.closed()


async def test_subscriptions_end_with_their_connection(house: House) -> None:
    wire = await house.wire()
    await wire.ask("SUBSCRIBE", "__keyspace@0__:k")
    assert house.store.watches is not None
    assert len(house.store.watches) == 1
    wire.writer.close()
    other = await house.wire()
    while len(house.store.watches):
        await other.ask("PING")


# -- the end


async def test_closing_answers_what_was_asked_and_refuses_the_rest(house: House) -> None:
    wire, idle, listening = await house.wire(), await house.wire(), await house.wire()
    await idle.ask("PING")
    await listening.ask("SUBSCRIBE", "__keyspace@0__:k")
    house.store.gate = asyncio.Event()
    house.store.entered.clear()
    wire.send("SET", "k", 1)
    wire.send("SET", "k", 2, "XX")
    await house.store.entered.wait()
    closing = asyncio.create_task(house.server.close())
    assert told(await listening.reply()).startswith("SHUTTINGDOWN ")
    house.store.gate.set()
    assert await wire.reply() == b"OK"
    assert told(await wire.reply()).startswith("SHUTTINGDOWN ")
    assert await wire.closed()
    assert await idle.closed()
    await closing
    assert house.value(b"k") == b"1"


async def test_an_ordinary_client_library(house: House) -> None:
    host, port = house.server.address
    for protocol in (2, 3):
        async with redis.asyncio.Redis(host=host, port=port, protocol=protocol) as client:
            assert await client.set("k", "v", ex=100, nx=True) is True
            assert await client.set("k", "v", nx=True) is None
            assert await client.ttl("k") == 100
            async with client.pipeline() as pipe:
                assert await pipe.incr("n").incr("n").mget("k", "x").execute() == [1, 2, [b"v", None]]
            assert [key async for key in client.scan_iter(match="*", count=1)] == [b"k", b"n"]
            assert (await client.info())["redis_version"] == "7.0.0"
            assert (await client.config_get("save")) == {"save": ""}
            assert await client.delete("k", "n") == 2

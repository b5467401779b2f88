"""Who may do what at the Redis door: every command with every role, AUTH and HELLO, revoking."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import hiredis
import pytest

from kvstore.guard import Gate
from kvstore.model import commands
from kvstore.model.auth_commands import AUTH_ENABLE, ROLE_ADD, ROLE_GRANT, USER_ADD, USER_GRANT, USER_REVOKE
from kvstore.model.keys import prefix_end
from kvstore.model.permissions import VERBS
from kvstore.redis import RedisServer
from kvstore.redis.commands import COMMANDS
from kvstore.redis.permissions import BY_ITSELF
from kvstore.security import passwords, tokens
from kvstore.security.tokens import ShortToken
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore

PASSWORD = "correct horse battery"
RECORD = passwords.record_of(PASSWORD)


class Line:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._replies = hiredis.Reader()

    async def ask(self, *words: str) -> Any:
        self.writer.write(hiredis.pack_command(words))
        return await self.reply()

    async def reply(self) -> Any:
        while (found := self._replies.gets()) is False:
            data = await asyncio.wait_for(self.reader.read(65_536), 5)
            if not data:
                return None
            self._replies.feed(data)
        return plain(found)


def plain(reply: Any) -> Any:
    """Text instead of bytes and errors."""
    if isinstance(reply, list):
        return [plain(each) for each in reply]
    return reply.decode() if isinstance(reply, bytes) else str(reply) if isinstance(reply, Exception) else reply


class House:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.gate = Gate(self.store)
        self.server = RedisServer(
            self.store, Metrics(), listen=("127.0.0.1", 0), shutdown_s=2.0, drain_s=0.1, gate=self.gate
        )
        self.lines: list[Line] = []
        self.store._apply(commands.put(b"a/1", b"1"))
        self.store._apply(commands.put(b"b/1", b"theirs"))
        for verb, number in VERBS.items():
            self.change(USER_ADD, f"r-{verb}", b"")
            self.change(ROLE_ADD, verb)
            self.change(ROLE_GRANT, verb, number, b"a/", prefix_end(b"a/"))
            self.change(USER_GRANT, f"r-{verb}", verb)
        self.change(AUTH_ENABLE, bytes(32), RECORD)

    def change(self, action: int, *arguments: Any) -> None:
        op = commands.checked(commands.auth(action, *arguments), self.store.auth.revision)
        assert self.store._apply(op).status == 0

    def token(self, user: str) -> str:
        since = self.store.auth.users[user].since
        return tokens.sign(ShortToken(user, since, self.gate.now_s() + 60), self.store.auth.keys)

    async def line(self, *users: str) -> Line:
        line = Line(*await asyncio.open_connection(*self.server.address))
        self.lines.append(line)
        for user in users:
            assert await line.ask("AUTH", self.token(user)) == "OK"
        return line


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.server.start()
    yield house
    for line in house.lines:
        line.writer.close()
    await house.server.close()
    house.gate.close()


# Arguments of each command that needs some, on the key a/1, or on those that begin with a/.
GIVEN = {
    "SET": ["a/2", "x"],
    "SETNX": ["a/2", "x"],
    "SETEX": ["a/2", "10", "x"],
    "PSETEX": ["a/2", "10000", "x"],
    "GETSET": ["a/1", "1"],
    "MSET": ["a/1", "1"],
    "MSETNX": ["a/2", "1"],
    "APPEND": ["a/1", ""],
    "INCRBY": ["a/1", "0"],
    "DECRBY": ["a/1", "0"],
    "EXPIRE": ["a/2", "10"],
    "PEXPIRE": ["a/2", "10000"],
    "SCAN": ["0", "MATCH", "a/*"],
    "KEYS": ["a/*"],
    "DBSIZE": [],
    "SUBSCRIBE": ["__keyspace@0__:a/1"],
    "PSUBSCRIBE": ["__keyspace@0__:a/*"],
    "GETDEL": ["a/2"],
    "DEL": ["a/2"],
    "UNLINK": ["a/2"],
    "KV.LEVEL": [],
    "KV.RECEIPT": [],
    "WAIT": ["0", "1"],
    "PUBLISH": ["c", "m"],
    "ECHO": ["x"],
    "SELECT": ["0"],
    "CLIENT": ["ID"],
    "CONFIG": ["GET", "x"],
}


def arguments(command: Any) -> list[str]:
    if command.name in GIVEN:
        return GIVEN[command.name]
    return ["a/1"] if command.keys[0] else []


def test_every_command_declares_what_it_needs() -> None:
    for command in COMMANDS:
        words = command.needs.split()
        assert words, command.name
        assert set(words) <= BY_ITSELF | set(VERBS), command.name
        assert bool(command.keys[0]) == (words[0] in VERBS), command.name
        if command.writes:
            assert {"write", "delete"} & set(words), command.name


async def test_every_role_gets_exactly_what_it_may(house: House) -> None:
    for command in COMMANDS:
        await walk(house, command)


async def walk(house: House, command: Any) -> None:
    asked = [command.name, *arguments(command)]
    needed = set(command.needs.split())
    if command.needs == "keys":
        needed = {"read"} if command.name != "DBSIZE" else {"none of them"}
    elif command.needs == "channels":
        needed = {"watch"}
    elif command.needs in BY_ITSELF:
        needed = set()
    nobody = await (await house.line()).ask(*asked)
    if command.needs == "open":
        assert not str(nobody).startswith("NOPERM")
        return
    assert str(nobody).startswith("NOAUTH"), nobody
    for verb in VERBS:
        got = str(await (await house.line(f"r-{verb}")).ask(*asked))
        assert got.startswith("NOPERM") == bool(needed - {verb}), (asked, verb, got)
    root = str(await (await house.line("root")).ask(*asked))
    assert not root.startswith(("NOPERM", "NOAUTH")), root


@pytest.mark.parametrize(
    ("user", "asked"),
    [
        ("r-read", ["GET", "b/1"]),
        ("r-read", ["MGET", "a/1", "b/1"]),
        ("r-write", ["SET", "b/1", "x"]),
        ("r-write", ["SET", "a/1", "x", "GET"]),
        ("r-write", ["MSET", "a/1", "x", "b/1", "x"]),
        ("r-delete", ["DEL", "a/1", "b/1"]),
        ("r-read", ["SCAN", "0"]),
        ("r-read", ["SCAN", "0", "MATCH", "a/*", "MATCH", "*"]),
        ("r-read", ["KEYS", "*"]),
        ("r-watch", ["SUBSCRIBE", "__keyevent@0__:set"]),
        ("r-watch", ["PSUBSCRIBE", "__key*"]),
        ("r-read", ["CLIENT", "LIST"]),
    ],
)
async def test_every_key_that_is_touched_is_checked(house: House, user: str, asked: list[str]) -> None:
    before = house.store.records
    assert str(await (await house.line(user)).ask(*asked)).startswith("NOPERM")
    assert house.store.records == before


async def test_auth_by_password_by_token_and_in_hello(house: House) -> None:
    line = await house.line()
    assert str(await line.ask("GET", "a/1")).startswith("NOAUTH")
    assert str(await line.ask("NOSUCH")).startswith("NOAUTH")
    assert str(await line.ask("AUTH", "root", "wrong wrong")).startswith("WRONGPASS")
    assert str(await line.ask("AUTH", "no token")).startswith("WRONGPASS")
    assert str(await line.ask("AUTH", "r-write", house.token("root"))).startswith("WRONGPASS")
    assert str(await line.ask("HELLO", "3")).startswith("NOAUTH")
    assert await line.ask("AUTH", "root", PASSWORD) == "OK"
    assert await line.ask("GET", "b/1") == "theirs"
    assert await line.ask("RESET") == "RESET"
    assert str(await line.ask("GET", "b/1")).startswith("NOAUTH")
    told = await line.ask("HELLO", "2", "AUTH", "root", PASSWORD, "SETNAME", "me")
    assert told[:2] == ["server", "kvstore"]
    assert await line.ask("GET", "b/1") == "theirs"
    assert await (await house.line()).ask("AUTH", "r-read", house.token("r-read")) == "OK"


async def test_passwords_are_not_tried_for_ever(house: House) -> None:
    line = await house.line()
    said = [str(await line.ask("AUTH", "root", "wrong wrong"))[:5] for _ in range(6)]
    assert said == ["WRONG"] * 5 + ["OVERL"]


async def test_a_pipeline_is_cut_where_a_right_ends(house: House) -> None:
    line = await house.line("r-write")
    for key in ("a/1", "b/1", "a/3"):
        line.writer.write(hiredis.pack_command(("SET", key, "x")))
    replies = [str(await line.reply())[:6] for _ in range(3)]
    assert replies == ["OK", "NOPERM", "OK"]
    reading = await house.line("r-read")
    for key in ("a/1", "b/1", "a/3"):
        reading.writer.write(hiredis.pack_command(("GET", key)))
    assert [str(await reading.reply())[:6] for _ in range(3)] == ["x", "NOPERM", "x"]


async def test_a_transaction_with_what_is_not_allowed_is_discarded(house: House) -> None:
    line = await house.line("r-write")
    assert await line.ask("MULTI") == "OK"
    assert await line.ask("SET", "a/2", "x") == "QUEUED"
    assert str(await line.ask("SET", "b/2", "x")).startswith("NOPERM")
    assert str(await line.ask("EXEC")).startswith("EXECABORT")
    assert b"a/2" not in house.store.records


async def test_what_was_queued_is_checked_again_when_it_is_carried_out(house: House) -> None:
    line = await house.line("r-write")
    await line.ask("MULTI")
    await line.ask("SET", "a/2", "x")
    house.change(USER_REVOKE, "r-write", "write")
    (reply,) = await line.ask("EXEC")
    assert str(reply).startswith("NOPERM")
    assert b"a/2" not in house.store.records


@pytest.mark.parametrize(
    "asked", [["SET", "a/2", "x"], ["DEL", "a/1"], ["SET", "a/2", "x", "NX"], ["SETEX", "a/2", "9", "x"]]
)
async def test_a_write_that_meets_a_revocation_is_not_applied(house: House, asked: list[str]) -> None:
    house.change(ROLE_GRANT, "write", VERBS["delete"], b"a/", prefix_end(b"a/"))
    line = await house.line("r-write")
    before = house.store.records
    house.store.gate = asyncio.Event()
    writing = asyncio.create_task(line.ask(*asked))
    await house.store.entered.wait()
    house.store.entered.clear()
    # The operation is on its way with the auth revision at which it was checked.
    house.change(USER_REVOKE, "r-write", "write")
    house.store.gate.set()
    assert str(await writing).startswith(("NOPERM", "AUTHCHANGED"))
    assert house.store.records == before


async def test_a_read_that_meets_a_revocation_tells_nothing(house: House) -> None:
    for asked in (["GET", "a/1"], ["MGET", "a/1"], ["EXISTS", "a/1"], ["KEYS", "a/*"]):
        if "read" not in house.store.auth.users["r-read"].roles:
            house.change(USER_GRANT, "r-read", "read")
        line = await house.line("r-read")
        house.store.gate = asyncio.Event()
        house.store.entered.clear()
        reading = asyncio.create_task(line.ask(*asked))
        await house.store.entered.wait()
        house.change(USER_REVOKE, "r-read", "read")
        house.store.gate.set()
        assert str(await reading).startswith("NOPERM"), asked
        house.store.gate = None


async def test_a_subscription_ends_with_the_right_to_it(house: House) -> None:
    line = await house.line("r-watch")
    assert (await line.ask("SUBSCRIBE", "__keyspace@0__:a/1"))[0] == "subscribe"
    house.change(USER_REVOKE, "r-watch", "watch")
    assert str(await line.reply()).startswith("NOPERM")
    assert await line.reply() is None


async def test_times_to_live_work_while_auth_is_enabled(house: House) -> None:
    line = await house.line("root")
    assert await line.ask("SETEX", "a/t", "100", "x") == "OK"
    assert await line.ask("SET", "a/t", "y") == "OK"
    assert await line.ask("EXPIRE", "a/t", "100") == 1
    assert await line.ask("PERSIST", "a/t") == 1
    assert await line.ask("INCR", "a/n") == 1

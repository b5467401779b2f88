"""What the harness writes into a history of what a Redis door has answered: no more, and no less, than is known."""

import asyncio
import io
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from kvjepsen import judge
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import ABSENT, UNMET, History, Operation, Recorder
from kvjepsen.workloads import WORKLOADS, redis
from kvjepsen.workloads.redis import RedisRegister
from kvjepsen.workloads.seen import Seen
from kvjepsen.workloads.workload import Arena, Worker
from kvstore.client import AsyncClient
from tests.support.recorded import lines_of
from tests.support.redis_script import Door

OK, NIL, QUEUED, NO_ARRAY = b"+OK\r\n", b"$-1\r\n", b"+QUEUED\r\n", b"*-1\r\n"
DONE = b"*1\r\n+OK\r\n"
KEY = "register/0"

Ask = Callable[[Worker], Awaitable[object]]


def value(number: int) -> bytes:
    return b"$%d\r\n%d\r\n" % (len(str(number)), number)


@dataclass
class Recorded:
    door: Door
    worker: Worker
    sink: io.BytesIO

    def history(self) -> History:
        return lines_of(self.sink)

    def last(self) -> Operation:
        return self.history().operations[-1]


@asynccontextmanager
async def recorded(*script: bytes | None, seed: int = 0) -> AsyncIterator[Recorded]:
    """A worker at a door that answers like this."""
    sink, door = io.BytesIO(), Door(*script)
    arena = Arena(Recorder(sink), {"n1": "http://127.0.0.1:1"}, seed, asyncio.Event(), doors=("redis",))
    async with door.open() as client, AsyncClient(["http://127.0.0.1:1"]) as http:
        yield Recorded(door, Worker(arena, "register-0", "n1", http, random.Random(seed), client), sink)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WRITE_S_MAX", "READ_S_MAX", "_PATIENT_S"):
        monkeypatch.setattr(redis, name, 0.3)


@pytest.mark.parametrize(
    ("reply", "outcome", "error"),
    [
        (OK, "ok", None),
        (b"-NOQUORUM x\r\n", "fail", "no_quorum"),
        (b"-SHUTTINGDOWN x\r\n", "fail", "no_leader"),
        (b"-UNKNOWNOUTCOME x\r\n", "info", "timeout"),
        (b"-WHATEVER x\r\n", "info", "internal"),
        (None, "info", "ConnectionLost"),
        (b"", "info", "timeout"),
    ],
)
async def test_a_write_is_ok_fail_or_info_by_what_is_known(
    reply: bytes | None, outcome: str, error: str | None
) -> None:
    async with recorded(reply, OK) as told:
        await RedisRegister(told.worker).write(KEY, 1, "quorum")
        assert (told.last().outcome, told.last().error, told.last().revision) == (outcome, error, None)
        await RedisRegister(told.worker).write(KEY, 2, "quorum")
        first, second = told.history().operations
        assert (first.process == second.process) is (outcome != "info")
        assert told.door.commands == [b"SET register/0 1", b"SET register/0 2"]


async def test_where_nobody_listens_a_write_failed() -> None:
    async with recorded() as told:
        told.worker.redis = redis.RedisClient("127.0.0.1:1")
        await RedisRegister(told.worker).write(KEY, 1, "quorum")
    assert (told.last().outcome, told.last().error) == ("fail", "CannotConnect")


async def test_a_write_at_all_that_was_late_took_effect() -> None:
    async with recorded(OK, b"-LEVELNOTMET x\r\n", OK) as told:
        await RedisRegister(told.worker).write(KEY, 1, "all")
        assert (told.last().outcome, told.last().error) == ("ok", "timeout")
        assert told.door.commands == [b"KV.LEVEL all", b"SET register/0 1", b"KV.LEVEL quorum"]


async def test_a_read_at_one_is_made_by_readonly_and_the_way_back() -> None:
    async with recorded(OK, value(7), OK) as told:
        assert await RedisRegister(told.worker).read(KEY, "one", 5) == Seen(7)
        assert told.door.commands == [b"READONLY", b"GET register/0", b"READWRITE"]
        assert (told.last().level, told.last().shown) == ("one", 7)


@pytest.mark.parametrize("reply", [None, b"", b"-TIMEOUT x\r\n"])
async def test_a_read_without_an_answer_tells_nothing(reply: bytes | None) -> None:
    async with recorded(reply) as told:
        assert await RedisRegister(told.worker).read(KEY, "quorum", 0.3) is None
    assert told.last().outcome == "fail"


@pytest.mark.parametrize(
    ("script", "outcome", "error", "last"),
    [
        ([OK, value(1), OK, QUEUED, DONE], "ok", None, b"EXEC"),
        ([OK, value(1), OK, QUEUED, NO_ARRAY], "fail", UNMET, b"EXEC"),
        ([OK, value(3), OK], "fail", UNMET, b"UNWATCH"),
        ([OK, None], "fail", "NothingWritten", b"GET register/0"),
        ([b"-NOLEADER x\r\n", NIL], "fail", "NothingWritten", b"GET register/0"),
        ([OK, value(1), OK, QUEUED, None], "info", "ConnectionLost", b"EXEC"),
        ([OK, value(1), OK, QUEUED, b""], "info", "timeout", b"EXEC"),
        ([OK, value(1), OK, QUEUED, b"-UNKNOWNOUTCOME x\r\n"], "info", "timeout", b"EXEC"),
        ([OK, value(1), OK, QUEUED, b"-NOQUORUM x\r\n"], "fail", "no_quorum", b"EXEC"),
        ([OK, value(1), OK, b"-ERR x\r\n", b"-EXECABORT x\r\n"], "fail", "bad_request", b"EXEC"),
    ],
)
async def test_compare_and_set_by_watch_and_exec(
    script: list[bytes | None], outcome: str, error: str | None, last: bytes
) -> None:
    async with recorded(*script) as told:
        await RedisRegister(told.worker).cas(KEY, Seen(1), 2, "quorum")
        assert (told.last().f, told.last().value) == ("cas", [1, 2])
        assert (told.last().outcome, told.last().error, told.door.commands[-1]) == (outcome, error, last)


async def test_a_watch_whose_key_could_not_be_read_is_not_left_behind() -> None:
    async with recorded(OK, b"-TIMEOUT x\r\n", OK, value(1), OK, QUEUED, DONE) as told:
        for key in (KEY, "register/1"):
            await RedisRegister(told.worker).cas(key, Seen(1), 2, "quorum")
        assert [op.outcome for op in told.history().operations] == ["fail", "ok"]
        assert told.door.connections == 2


async def test_what_is_absent_is_created_by_set_nx_or_by_watch_and_exec() -> None:
    seen = set()
    for seed in range(8):
        async with recorded(OK, NIL, OK, QUEUED, DONE, seed=seed) as told:
            await RedisRegister(told.worker).cas(KEY, Seen(None), 2, "quorum")
            assert told.last().outcome == "ok"
            seen.add(told.door.commands[0])
    assert seen == {b"SET register/0 2 NX", b"WATCH register/0"}


async def test_what_was_there_or_absent_after_all_is_an_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    async with recorded(NIL, b":0\r\n") as told:
        monkeypatch.setattr(told.worker.rng, "random", lambda: 0.0)
        await RedisRegister(told.worker).cas(KEY, Seen(None), 2, "quorum")
        await RedisRegister(told.worker).delete(KEY, "quorum")
    assert [(op.f, op.outcome, op.error) for op in told.history().operations] == [
        ("cas", "fail", UNMET),
        ("delete", "fail", ABSENT),
    ]


async def test_an_increment_tells_where_the_counter_stands_and_is_not_sent_again() -> None:
    async with recorded(b":7\r\n", None, b":9\r\n") as told:
        for amount in (1, 2, 1):
            await redis.increment(told.worker, "counter/redis/0", amount)
        assert [(op.outcome, op.value, op.shown) for op in told.history().operations] == [
            ("ok", 1, {"stands": 7}),
            ("info", 2, 2),
            ("ok", 1, {"stands": 9}),
        ]
        assert told.door.commands == [
            b"INCR counter/redis/0",
            b"INCRBY counter/redis/0 2",
            b"INCR counter/redis/0",
        ]


def wrong(found: History, workload: str) -> set[str]:
    checks = judge.checks(found, [WORKLOADS[workload]])
    return {check.name for _, check in checks if check.result.verdict is Verdict.INVALID}


async def _write_and_read(worker: Worker) -> None:
    await RedisRegister(worker).write(KEY, 1, "quorum")
    await RedisRegister(worker).write(KEY, 2, "quorum")
    await RedisRegister(worker).read(KEY, "quorum", 5)


async def _exchange_twice(worker: Worker) -> None:
    await RedisRegister(worker).write(KEY, 1, "quorum")
    for new in (2, 3):
        await RedisRegister(worker).cas(KEY, Seen(1), new, "quorum")


async def _read_at_one(worker: Worker) -> None:
    await RedisRegister(worker).write(KEY, 1, "quorum")
    await RedisRegister(worker).read(KEY, "one", 5)


async def _count(worker: Worker) -> None:
    for _ in range(2):
        await redis.increment(worker, "counter/redis/0", 1)


@pytest.mark.parametrize(
    ("ask", "right", "lie", "check"),
    [
        (_write_and_read, [OK, OK, value(2)], [OK, OK, value(1)], "linearizable"),
        (_write_and_read, [OK, OK, value(2)], [OK, b"-NOQUORUM x\r\n", value(2)], "linearizable"),
        (
            _exchange_twice,
            [OK, OK, value(1), OK, QUEUED, DONE, OK, value(2), OK],
            [OK, OK, value(1), OK, QUEUED, DONE, OK, value(1), OK, QUEUED, DONE],
            "linearizable",
        ),
        (_read_at_one, [b"-NOQUORUM x\r\n", OK, NIL, OK], [b"-NOQUORUM x\r\n", OK, value(1), OK], "at one"),
        (_count, [b":1\r\n", b":2\r\n"], [b":1\r\n", b":1\r\n"], "counter"),
        (_count, [None, b":2\r\n"], [None, b":3\r\n"], "counter"),
    ],
)
async def test_a_door_that_lies_is_found_and_one_that_does_not_is_not(
    ask: Ask, right: list[bytes | None], lie: list[bytes | None], check: str
) -> None:
    workload = "counter" if check == "counter" else "register"
    for script, expected in ((right, set()), (lie, {check})):
        async with recorded(*script) as told:
            await ask(told.worker)
        assert wrong(told.history(), workload) == expected

"""`kv bench --door redis` against doors that follow a script: what is asked, and what counts as an error."""

from dataclasses import replace

import pytest

from kvcli.bench.doors import Caller, open_door
from kvcli.bench.plan import Plan
from kvcli.bench.tally import Tally
from kvcli.credentials import Credentials
from kvstore.errors import CannotConnect, NoQuorum
from tests.support.redis_script import Door

OK, VALUE = b"+OK\r\n", b"$1\r\nv\r\n"


def plan(*addresses: str, level: str = "quorum", clients: int = 1) -> Plan:
    return Plan("put", (), door="redis", redis_endpoints=addresses, level=level, clients=clients, timeout_s=0.5)


async def use(caller: Caller) -> None:
    await caller.put(b"k", b"v")
    await caller.get(b"k")
    await caller.batch([("put", b"a"), ("get", b"b")], b"v")


@pytest.mark.parametrize("level", ["one", "quorum", "all"])
async def test_every_connection_chooses_its_level_and_keeps_it(level: str) -> None:
    door = Door(OK, OK, VALUE, OK, VALUE)
    async with door.listening() as address, open_door(plan(address, level=level)) as (caller,):
        await use(caller)
    assert door.commands == [f"KV.LEVEL {level}".encode(), b"SET k v", b"GET k", b"SET a v", b"GET b"]


async def test_every_connection_logs_in_where_it_is_told_who_asks() -> None:
    door = Door(OK, OK, OK)
    known = replace(plan("127.0.0.1:1"), who=Credentials("a-token"))
    async with door.listening() as address, open_door(replace(known, redis_endpoints=(address,))) as (caller,):
        await caller.put(b"k", b"v")
    assert door.commands == [b"AUTH a-token", b"KV.LEVEL quorum", b"SET k v"]


async def test_clients_are_spread_over_the_doors_each_on_a_connection_of_its_own() -> None:
    doors = [Door(*[OK] * 6), Door(*[OK] * 6)]
    async with (
        doors[0].listening() as one,
        doors[1].listening() as other,
        open_door(plan(one, other, clients=5)) as callers,
    ):
        for caller in callers:
            await caller.put(b"k", b"v")
    assert [door.connections for door in doors] == [3, 2]


async def test_of_a_pipeline_each_command_that_failed_is_told_by_its_outcome() -> None:
    door = Door(OK, OK, b"-NOQUORUM x\r\n", b"-UNKNOWNOUTCOME x\r\n", b"-NOQUORUM x\r\n", None)
    tally = Tally(["batch"])
    async with door.listening() as address, open_door(plan(address)) as (caller,):
        operations = [("put", b"a"), ("put", b"b"), ("put", b"c"), ("get", b"d"), ("put", b"e")]
        for error in await caller.batch(operations, b"v"):  # type: ignore[arg-type]
            tally.failed(error)
    assert tally.errors == {
        ("no_quorum", "not_applied"): 1,
        ("timeout", "unknown"): 1,
        ("no_quorum", None): 1,
        ("connection_lost", "unknown"): 1,
    }


async def test_a_refusal_is_raised_as_the_error_of_the_http_door() -> None:
    async with Door(OK, b"-NOQUORUM x\r\n").listening() as address, open_door(plan(address)) as (caller,):
        with pytest.raises(NoQuorum):
            await caller.put(b"k", b"v")


async def test_another_server_than_this_store_is_not_measured_by_mistake() -> None:
    door = Door(b"-ERR unknown command 'KV.LEVEL'\r\n")
    async with door.listening() as address, open_door(plan(address)) as (caller,):
        with pytest.raises(CannotConnect, match="KV.LEVEL"):
            await caller.put(b"k", b"v")
    assert door.commands == [b"KV.LEVEL quorum"]

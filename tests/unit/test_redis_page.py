"""docs/redis.md has the tables of the door, and names every bound."""

from pathlib import Path

import pytest

from kvstore import limits
from kvstore.errors import KvError, Unavailable, _leaves
from kvstore.redis import page, problems
from kvstore.redis.commands import COMMANDS, find
from kvstore.redis.commands.unsupported import UNSUPPORTED

PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8")

REQUIRED = """
PING ECHO HELLO AUTH SELECT QUIT CLIENT COMMAND CONFIG INFO DBSIZE TIME GET SET SETNX SETEX GETSET GETDEL MGET MSET
MSETNX DEL UNLINK EXISTS TYPE STRLEN APPEND INCR INCRBY DECR DECRBY EXPIRE PEXPIRE TTL PTTL PERSIST SCAN KEYS MULTI EXEC
DISCARD WATCH UNWATCH WAIT SUBSCRIBE PSUBSCRIBE READONLY READWRITE KV.LEVEL
"""


@pytest.mark.parametrize("table", [page.commands_table, page.unsupported_table, page.errors_table])
def test_the_tables_are_those_of_the_door(table) -> None:
    assert table() in PAGE, "python -m kvstore.redis"


@pytest.mark.parametrize("name", REQUIRED.split())
def test_what_was_promised_is_there(name: str) -> None:
    command = find(name.lower().encode())
    assert command is not None
    assert command.name == name
    assert command.local or command.served or command.pure


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_row_fits_together(command) -> None:
    assert command.name not in UNSUPPORTED
    assert sum(find(each.name.encode()) is each for each in COMMANDS) == len(COMMANDS)
    assert command.pure or not command.writes
    assert not command.keys[0] or command.arity != 1
    assert ("write" in command.flags) + ("readonly" in command.flags) < 2
    assert command.summary.endswith(".")
    if command.keys[0]:
        arguments = [command.name.encode(), *(b"%d" % number for number in range(1, max(abs(command.arity), 5)))]
        assert command.keys_of(arguments)[0] == b"1"


def test_keys_of_many_kinds() -> None:
    arguments = [b"", b"a", b"1", b"b", b"2"]
    assert find(b"MSET").keys_of(arguments) == [b"a", b"b"]
    assert find(b"DEL").keys_of(arguments) == [b"a", b"1", b"b", b"2"]
    assert find(b"GET").keys_of(arguments) == [b"a"]
    assert find(b"PING").keys_of(arguments) == []


def test_every_error_has_a_first_word_with_a_meaning() -> None:
    leaves = [cls for cls in _leaves(KvError) if cls not in (KvError, Unavailable)]
    assert set(problems.PREFIXES) == set(leaves)
    assert set(problems.PREFIXES.values()) | {problems.UNKNOWN_OUTCOME, problems.LEVEL_NOT_MET} <= set(
        problems.MEANINGS
    )
    for cls in leaves:
        told = problems.told(cls("why\r\n-it is so", outcome="not_applied", missing=("n2", "n3")))
        assert told.split(b" ")[0].decode() in problems.MEANINGS
        assert b"missing n2,n3" in told
        assert b"\n" not in told
        assert problems.prefix_of(cls("why", outcome="unknown")) == "UNKNOWNOUTCOME"
        assert problems.prefix_of(cls("why", outcome="committed")) == "LEVELNOTMET"


def test_the_bounds() -> None:
    for text in (
        f"| {limits.REDIS_ARGUMENTS_MAX:,}, with {limits.REDIS_COMMAND_BYTES_MAX >> 20} MiB together |",
        f"| connections | {limits.REDIS_CONNECTIONS_MAX:,} |",
        f"{limits.REDIS_PIPELINE_COMMANDS_MAX:,}, or {limits.REDIS_PIPELINE_BYTES_MAX >> 20} MiB",
        f"| {limits.REDIS_INPUT_BYTES_MAX >> 20} MiB |",
        f"{limits.REDIS_REPLY_BYTES_MAX >> 20} MiB together |",
        f"after {limits.REDIS_WRITE_S_MAX:g} s it is cut off",
        f"has {limits.REDIS_SUBSCRIPTIONS_MAX} subscriptions at most",
        f"has {limits.REDIS_QUEUED_COMMANDS_MAX} commands at most",
        f"The shortest is {limits.LEASE_TTL_MS_MIN:,} ms",
        f"The longest is {limits.LEASE_TTL_MS_MAX // 86_400_000} days",
        f"up to {limits.REDIS_ATTEMPTS_MAX:,} times within {limits.REDIS_COMMAND_S_MAX:g} s",
        f"{limits.KEY_BYTES_MAX:,} bytes, {limits.VALUE_BYTES_MAX:,} bytes",
    ):
        assert text in PAGE, text

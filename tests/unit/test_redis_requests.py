"""Commands out of bytes: the same ones, wherever the bytes are cut."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore import limits
from kvstore.redis import requests
from kvstore.redis.requests import Broken, Refused, Requests


def room(size: int) -> bool:
    return True


def written(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in command)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[low:high] for low, high in itertools.pairwise(at)]


COMMANDS = st.lists(
    st.lists(
        st.one_of(
            st.binary(max_size=30), st.sampled_from([b"*99999\r\n", b"\r\n", b">123456\r\n", b"$-1\r\n", b"GET"])
        ),
        max_size=4,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(COMMANDS, st.lists(st.integers(0, 400), max_size=6))
def test_commands_are_the_same_wherever_their_bytes_are_cut(commands: list[list[bytes]], places: list[int]) -> None:
    reader = Requests(room)
    found = [item for part in cut(b"".join(map(written, commands)), places) for item in reader.take(part)]
    assert found == [each for each in commands if each]
    assert reader.waiting == 0


def test_an_empty_command_in_front_of_an_unfinished_one_ends_nothing() -> None:
    reader = Requests(room)
    assert reader.take(b"*0\r\n*2\r\n$3\r\nGET\r\n$40\r\nabc\r\n") == []
    assert reader.take(b"x" * 35 + b"\r\n") == [[b"GET", b"abc\r\n" + b"x" * 35]]
    assert reader.take(written([b"PING"])) == [[b"PING"]]


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=80), st.lists(st.integers(0, 80), max_size=4))
def test_any_bytes_are_read_or_refused(data: bytes, places: list[int]) -> None:
    reader = Requests(room)
    for part in cut(data, places):
        items = reader.take(part)
        for item in items:
            assert isinstance(item, Broken | Refused) or all(type(each) is bytes for each in item)
        if items and isinstance(items[-1], Broken):
            break
        assert reader.waiting <= len(data)


def strange_part(rng: random.Random, depth: int) -> bytes:
    """Anything that RESP3 has, whether it makes sense or not."""
    mark = rng.choice("*~>%|$=!:+-_#,(")
    if mark in "*~>%|" and depth < 11:
        count = rng.randrange(3)
        inner = [strange_part(rng, depth + 1) for _ in range(count * (2 if mark in "%|" else 1))]
        return b"%b%d\r\n%b" % (mark.encode(), count, b"".join(inner))
    if mark in "$=!":
        return mark.encode() + b"5\r\ntxt:a\r\n"
    return mark.encode() + rng.choice([b"", b"1", b"t", b"inf", b"x", b"1" * 30]) + b"\r\n"


def test_replies_in_the_place_of_commands_are_refused() -> None:
    rng = random.Random(5)
    for _ in range(5_000):
        reader = Requests(room)
        data = b"*%d\r\n" % rng.randrange(1, 4) + b"".join(strange_part(rng, 1) for _ in range(rng.randrange(1, 4)))
        for item in reader.take(data):
            assert isinstance(item, Broken | Refused) or all(type(each) is bytes for each in item)


def test_hiredis_reads_what_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Requests(room)
    monkeypatch.setattr(requests._Exact, "take", lambda self, data: pytest.fail("read slowly"))
    many = [[b"SET", b"k%d" % number, b"x" * 100] for number in range(500)]
    assert reader.take(b"".join(map(written, many))) == many
    assert reader.take(written([b"GET", b"k"])) == [[b"GET", b"k"]]


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n$4\r\nPING\r\n*300000000\r\n",
        b"*1\r\n$4\r\nPING>300000000\r\n",
        b"*2\r\n$4\r\nECHO\r\n~300000000\r\n",
        b"*2\r\n$4\r\nECHO\r\n*300000000\r\n",
    ],
)
def test_no_room_is_made_for_what_was_only_announced(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Requests(room)

    class Watched:
        def feed(self, data: bytes) -> None:
            pytest.fail("hiredis was given it")

    monkeypatch.setattr(reader, "_reader", Watched())
    reader.take(data)


def test_empty_commands_are_none() -> None:
    reader = Requests(room)
    assert reader.take(b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n") == [[b"PING"]]
    assert reader.take(b"*0\r\n" + written([b"PING"])) == [[b"PING"]]


def test_lines_as_one_types_them() -> None:
    reader = Requests(room)
    data = b'PING\r\nset  k "a \\"b\\x00\\n" \'c d\'\nGET k\r\n'
    assert reader.take(data) == [[b"PING"], [b"set", b"k", b'a "b\x00\n', b"c d"], [b"GET", b"k"]]
    assert reader.take(written([b"GET", b"k"])) == [[b"GET", b"k"]]
    (broken,) = reader.take(b"SET k 'unfinished\n")
    assert isinstance(broken, Broken)


def test_what_is_refused_for_its_size_is_skipped() -> None:
    reader = Requests(room)
    large = b"x" * (limits.VALUE_BYTES_MAX + 1)
    found = []
    data = written([b"SET", b"k", large, b"rest"]) + written([b"PING"])
    for start in range(0, len(data), 100_000):
        found += reader.take(data[start : start + 100_000])
        assert reader.waiting <= 200_000
    assert isinstance(found[0], Refused)
    assert found[1:] == [[b"PING"]]


def test_nothing_is_collected_where_there_is_no_room() -> None:
    reader = Requests(lambda size: False)
    data = written([b"SET", b"k", b"x" * 300_000]) + written([b"PING"])
    found = [item for start in range(0, len(data), 50_000) for item in reader.take(data[start : start + 50_000])]
    assert isinstance(found[0], Refused)
    assert found[0].reply.startswith(b"OVERLOADED ")
    assert found[1:] == [[b"PING"]]


def test_skipping_has_an_end() -> None:
    reader = Requests(room)
    (broken,) = reader.take(b"*2\r\n$3\r\nSET\r\n$%d\r\n" % (limits.REDIS_SKIPPED_BYTES_MAX + 1))
    assert isinstance(broken, Broken)


def test_many_commands_in_pieces_are_read_in_time_that_does_not_grow_with_their_square() -> None:
    reader = Requests(room)
    commands = [[b"SET", b"key", b"x" * 1_000] for _ in range(200)]
    data = b"".join(map(written, commands))
    rng = random.Random(7)
    found, at = [], 0
    while at < len(data):
        step = rng.randrange(1, 3_000)
        found += reader.take(data[at : at + step])
        at += step
    assert found == commands

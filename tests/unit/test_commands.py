from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.model import commands
from kvstore.model.commands import Command, UnknownCommand
from kvstore.model.stamp import Stamp

STAMP = Stamp(1_700_000_000_000, 3, "n1", 0)

CONDITIONS = st.none() | st.integers(min_value=-1, max_value=2**63)
NUMBERS = st.integers(0, 2**64 - 1)
ONCE = st.none() | st.binary(min_size=1, max_size=256) | st.tuples(NUMBERS, NUMBERS, NUMBERS)
OPS = (
    st.builds(commands.put, st.binary(max_size=20), st.binary(max_size=200), CONDITIONS, ONCE)
    | st.builds(commands.delete, st.binary(max_size=20), CONDITIONS, ONCE)
    | st.builds(commands.open_session)
    | st.builds(commands.close_session, NUMBERS)
)
KEYS_OF_INTENTS = st.none() | st.binary(min_size=1, max_size=256)
INTENTS = st.tuples(
    st.just(0), st.binary(max_size=20), st.binary(max_size=200), NUMBERS, NUMBERS, KEYS_OF_INTENTS
) | st.tuples(st.just(1), st.binary(max_size=20), NUMBERS, NUMBERS, KEYS_OF_INTENTS)
ORIGIN = commands.Origin("n2", 2**64 - 1, 0, 1)
STAMPS = st.builds(
    Stamp, st.integers(0, 2**63), st.integers(0, 2**31), st.text(max_size=8).filter(str.isprintable), st.integers(0, 9)
)


def raw(*fields: Any) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


@given(ops=st.lists(OPS, max_size=20), stamp=STAMPS)
def test_what_is_decoded_is_what_was_encoded(ops: list[commands.Op], stamp: Stamp) -> None:
    command = commands.decode(commands.encode(ops, stamp))
    assert list(command.ops) == ops
    assert command == Command(commands.KIND_OPS, command.ops, stamp, None, None)
    assert type(command.stamp) is Stamp


@given(ops=st.lists(INTENTS, max_size=20), stamp=STAMPS, first=NUMBERS)
def test_what_is_decoded_are_the_intents_that_were_encoded(ops: list[commands.Op], stamp: Stamp, first: int) -> None:
    origin = ORIGIN._replace(first_sequence=first)
    command = commands.decode(commands.encode_intents(ops, stamp, origin))
    assert list(command.ops) == ops
    assert command == Command(commands.KIND_INTENTS, command.ops, stamp, None, origin)
    assert type(command.origin) is commands.Origin


@pytest.mark.parametrize("origin", [7, (), ("n2", 7, 0), ("n2", 7, 0, 1, 1, 1)])
def test_an_origin_of_another_shape_is_refused(origin: Any) -> None:
    with pytest.raises(UnknownCommand):
        commands.decode(raw(1, 1, [], tuple(STAMP), None, origin))


@pytest.mark.parametrize("condition", [None, 0, -1, 1])
def test_requests_are_told_apart_by_all_that_they_ask(condition: int | None) -> None:
    requests = [
        (0, b"k", b"v", condition),
        (0, b"kv", b"", condition),
        (0, b"", b"kv", condition),
        (1, b"k", b"", condition),
        (1, b"k", b"v", condition),
        (0, b"k", b"v", 2),
    ]
    assert len({commands.request_digest(*request) for request in requests}) == len(requests)
    assert commands.request_digest(*requests[0]) == commands.request_digest(*requests[0]) < 2**64


@pytest.mark.parametrize(
    ("op", "frees"),
    [
        (commands.put(b"k", b""), False),
        (commands.delete(b"k"), True),
        (commands.open_session(), False),
        (commands.close_session(1), True),
    ],
)
def test_only_what_takes_away_may_be_applied_without_room(op: commands.Op, frees: bool) -> None:
    assert commands.frees_room(op) is frees


def test_keys_and_values_may_be_any_bytes() -> None:
    every_byte = bytes(range(256))
    command = commands.decode(commands.encode([commands.put(every_byte, every_byte[::-1])], STAMP))
    assert command.ops[0] == (commands.OP_PUT, every_byte, every_byte[::-1], None)


@pytest.mark.parametrize(("version", "kind"), [(0, 0), (2, 0), (1, 2), (1, -1), (None, 0), ("1", 0), (1, b"")])
def test_an_unknown_version_or_kind_is_refused(version: Any, kind: Any) -> None:
    with pytest.raises(UnknownCommand, match="not known to this build"):
        commands.decode(raw(version, kind, [], tuple(STAMP), None, None))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"garbage",
        b"\x93\x01\x00",
        raw(),
        raw(1, 0, [], tuple(STAMP), None),
        raw(1, 0, [], tuple(STAMP), None, None, None),
        msgpack.packb(7),
        msgpack.packb({"v": 1}),
        commands.encode([], STAMP) + b"\x00",
        commands.encode([commands.put(b"k", b"v")], STAMP)[:-1],
        b"\x91" * 5000,
    ],
)
def test_bytes_that_are_no_envelope_are_refused(data: bytes) -> None:
    with pytest.raises(UnknownCommand):
        commands.decode(data)


@pytest.mark.parametrize("stamp", [None, 7, (), (1, 2, "n1"), (1, 2, "n1", 0, 0)])
def test_a_stamp_of_another_shape_is_refused(stamp: Any) -> None:
    with pytest.raises(UnknownCommand):
        commands.decode(raw(1, 0, [], stamp, None, None))


def test_every_truncation_of_an_envelope_is_refused() -> None:
    whole = commands.encode([commands.put(b"key", b"value", 5), commands.delete(b"key")], STAMP)
    for length in range(len(whole)):
        with pytest.raises(UnknownCommand):
            commands.decode(whole[:length])


@given(ops=st.lists(OPS, min_size=1, max_size=20))
def test_the_size_that_operations_count_for_covers_what_they_take_in_an_entry(ops: list[commands.Op]) -> None:
    envelope = len(commands.encode([], STAMP)) + 4
    assert len(commands.encode(ops, STAMP)) <= envelope + sum(commands.op_bytes(op) for op in ops)


@given(ops=st.lists(INTENTS, min_size=1, max_size=20))
def test_the_size_that_intents_count_for_covers_what_they_take_in_an_entry(ops: list[commands.Op]) -> None:
    envelope = len(commands.encode_intents([], STAMP, ORIGIN)) + 4
    assert len(commands.encode_intents(ops, STAMP, ORIGIN)) <= envelope + sum(commands.op_bytes(op) for op in ops)

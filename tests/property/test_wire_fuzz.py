"""Whatever is sent arrives as it was, in whatever pieces; whatever else arrives raises BadMessage and nothing else."""

import struct
import tracemalloc
from typing import Any, get_args

import google_crc32c
import lz4.frame
import msgpack
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvstore import limits
from kvstore.consensus import messages as m
from kvstore.consensus import wire
from tests.support.plain_messages import from_array, to_array

index = st.integers(0, (1 << 63) - 1)
name = st.text(max_size=limits.NAME_CHARS_MAX)
data = st.one_of(st.binary(max_size=300), st.integers(0, 20_000).map(lambda size: b"abcdefg" * (size // 7)))
entries = st.lists(st.tuples(index, data), max_size=5)
scalar = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False), st.text(), data
)
anything = st.recursive(
    scalar, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4))
)
body = st.lists(anything, max_size=4)
problem = st.dictionaries(st.text(), anything, max_size=4)

BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    m.Append: st.builds(
        m.Append, index, index, index, index, index, st.booleans(), st.booleans(), entries, index, index
    ),
    m.AppendReply: st.builds(
        m.AppendReply, index, index, st.booleans(), index, index, index, index, st.booleans(), st.booleans(), index
    ),
    m.VoteRequest: st.builds(m.VoteRequest, index, index, index, st.booleans(), st.booleans()),
    m.VoteReply: st.builds(m.VoteReply, index, st.booleans(), st.booleans()),
    m.ReadRound: st.builds(m.ReadRound, index, index),
    m.ReadRoundReply: st.builds(m.ReadRoundReply, index, index),
    m.SnapshotChunk: st.builds(m.SnapshotChunk, index, index, index, index, index, index, data),
    m.SnapshotReply: st.builds(m.SnapshotReply, index, index, index, index, st.booleans()),
    m.TimeoutNow: st.builds(m.TimeoutNow, index),
    m.Call: st.builds(m.Call, index, name, body),
    m.TracedCall: st.builds(m.TracedCall, index, name, body, st.text(max_size=128), st.text(max_size=55)),
    m.Return: st.builds(m.Return, index, st.none() | body, st.none() | problem),
}
message = st.one_of(*BY_TYPE.values())
cuts = st.lists(st.integers(0, 1 << 16), max_size=12)


def pieces(stream: bytes, positions: list[int]) -> list[bytes]:
    """`stream` cut at `positions`, taken modulo its length."""
    ends = sorted(position % (len(stream) + 1) for position in positions)
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


def read(stream: list[bytes]) -> tuple[list[m.Message], bool]:
    """All messages of a stream, and whether it ended in BadMessage. Any other exception is a failure of the test."""
    decoder = wire.FrameDecoder()
    found = []
    try:
        for piece in stream:
            decoder.feed(piece)
            while (payload := decoder.next_payload()) is not None:
                found.append(wire.decode_message(payload))
    except m.BadMessage:
        return found, True
    return found, False


def frame(payload: bytes, flags: int) -> bytes:
    """Any payload and flags under a right checksum, so that what lies below the checksum is reached."""
    content = bytes((flags,)) + payload
    return struct.pack(">II", len(content), google_crc32c.value(content)) + content


def test_every_message_type_is_covered() -> None:
    assert set(BY_TYPE) == set(get_args(m.Message))


@given(st.lists(message, max_size=6), cuts)
@settings(deadline=None)
def test_messages_arrive_as_they_were_sent_in_any_pieces(sent: list[m.Message], positions: list[int]) -> None:
    stream = b"".join(map(wire.encode_message, sent))
    assert read(pieces(stream, positions)) == (sent, False)


@given(message)
@settings(deadline=None)
def test_the_payload_is_the_msgpack_array_of_the_message(sent: m.Message) -> None:
    decoder = wire.FrameDecoder()
    decoder.feed(wire.encode_message(sent))
    payload = decoder.next_payload()
    assert payload is not None
    assert from_array(msgpack.unpackb(payload)) == sent
    assert wire.decode_message(msgpack.packb(to_array(sent))) == sent


@given(st.binary(max_size=400), cuts)
@settings(deadline=None)
def test_garbage_is_no_message(stream: bytes, positions: list[int]) -> None:
    found, _ = read(pieces(stream, positions))
    assert found == []


@given(st.lists(message, min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_after_a_damaged_byte_only_the_messages_before_it_arrive(sent: list[m.Message], draw: st.DataObject) -> None:
    frames = [wire.encode_message(one) for one in sent]
    stream = bytearray(b"".join(frames))
    position = draw.draw(st.integers(0, len(stream) - 1))
    stream[position] ^= draw.draw(st.integers(1, 255))
    whole, end = 0, 0
    for one in frames:
        end += len(one)
        if end > position:
            break
        whole += 1
    found, _ = read([bytes(stream)])
    assert found == sent[:whole]


@given(message, st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4), st.integers(0, 3), cuts)
@settings(deadline=None)
def test_a_damaged_payload_under_a_right_checksum_raises_nothing_else(
    sent: m.Message, changes: list[tuple[int, int]], flags: int, positions: list[int]
) -> None:
    payload = bytearray(msgpack.packb(to_array(sent)))
    if flags == 1:
        payload = bytearray(lz4.frame.compress(bytes(payload)))
    for position, value in changes:
        payload[position % len(payload)] = value
    found, broken = read(pieces(frame(bytes(payload), flags), positions))
    assert len(found) + broken == 1


@given(st.binary(max_size=200))
@example(b"\x94\x0a\x01\xa1m" + b"\xdf\xff\xff\xff\xff" * 30)
@example(b"\x94\x0a\x01\xa1m" + b"\xdd\xff\xff\xff\xff" * 30)
@example(b"\x94\x0a\x01\xa1m\x91\xc6\xff\xff\xff\xff")
@settings(deadline=None)
def test_what_arrives_allocates_in_proportion_to_its_length(tail: bytes) -> None:
    for payload in (tail, b"\x94\x0a\x01\xa1m" + tail, b"\x98\x01\x01\x01\x01\x01\x01\xc2" + tail):
        stream = [frame(payload, 0), tail]
        tracemalloc.start()
        read(stream)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000

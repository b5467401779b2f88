"""Frames and handshakes: what is accepted, and that nothing wrong with received bytes costs more than an error."""

import random
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import google_crc32c
import lz4.frame
import msgpack
import pytest

from kvstore import limits
from kvstore.consensus import wire
from kvstore.consensus.messages import Append, AppendReply, BadMessage, Call, Message, TimeoutNow
from tests.support.plain_messages import to_array

HELLO = wire.Hello(1, "cluster", "n1", "id1", 7, "http://127.0.0.1:8480")


def frame(payload: bytes, flags: int = 0) -> bytes:
    """A frame with a right checksum around any payload, written without the code under test."""
    body = bytes((flags,)) + payload
    return struct.pack(">II", len(body), google_crc32c.value(body)) + body


def payloads(data: bytes, piece: int | None = None, **bounds: int) -> list[bytes]:
    decoder = wire.FrameDecoder(**bounds)
    found = []
    for start in range(0, len(data), piece or len(data)):
        decoder.feed(data[start : start + (piece or len(data))])
        while (payload := decoder.next_payload()) is not None:
            found.append(payload)
    return found


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most memory that `call`, which must be refused, held at a time."""
    tracemalloc.start()
    try:
        with pytest.raises(BadMessage):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_frame_is_length_checksum_flags_and_the_msgpack_of_the_message() -> None:
    message = AppendReply(5, 6, True, 7, 0, 6, 5)
    assert wire.encode_message(message) == frame(msgpack.packb(to_array(message)))


def test_frames_are_found_in_pieces_of_any_size() -> None:
    messages: list[Message] = [
        TimeoutNow(1),
        Append(1, 2, 3, 1, 2, False, False, [(1, bytes(range(256)) * 40)]),
        TimeoutNow(2),
    ]
    data = b"".join(wire.encode_message(message) for message in messages)
    for piece in (1, 2, 3, 7, 8, 9, 100, len(data)):
        assert [wire.decode_message(payload) for payload in payloads(data, piece)] == messages


def test_a_small_payload_is_not_compressed() -> None:
    assert wire.encode_frame(b"a" * limits.FRAME_COMPRESS_BYTES_MIN)[8] == 0


def test_a_large_payload_is_compressed_only_where_that_makes_it_smaller() -> None:
    dull = b"a" * 10_000
    lively = random.Random(1).randbytes(10_000)
    assert wire.encode_frame(dull)[8] == 1
    assert len(wire.encode_frame(dull)) < 200
    assert wire.encode_frame(lively) == frame(lively)
    assert payloads(wire.encode_frame(dull) + wire.encode_frame(lively)) == [dull, lively]


@pytest.mark.parametrize("position", range(len(wire.encode_message(TimeoutNow(1)))))
def test_no_flipped_bit_of_a_frame_yields_a_payload(position: int) -> None:
    good = wire.encode_message(TimeoutNow(1))
    for bit in range(8):
        data = bytearray(good)
        data[position] ^= 1 << bit
        try:
            found = payloads(bytes(data))
        except wire.BadFrame:
            continue
        assert found == []  # a longer length: the frame is not complete


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(bytes(8), id="length of nought"),
        pytest.param(struct.pack(">II", limits.FRAME_BYTES_MAX + 1, 0), id="length above the bound"),
        pytest.param(frame(b"", flags=2), id="unknown flag"),
        pytest.param(frame(b"", flags=1), id="compressed nothing"),
        pytest.param(frame(b"not lz4 at all" * 9, flags=1), id="not lz4"),
        pytest.param(frame(lz4.frame.compress(b"a" * 9_000, store_size=False), flags=1), id="size not told"),
        pytest.param(frame(lz4.frame.compress(b"a" * 9_000) + b"more", flags=1), id="bytes after the end"),
        pytest.param(frame(lz4.frame.compress(b"a" * 9_000)[:-5], flags=1), id="cut compression"),
        pytest.param(frame(lz4.frame.compress(b""), flags=1), id="empty compression"),
        pytest.param(frame(b"\x50\x2a\x4d\x18\x04\0\0\0skip", flags=1), id="skippable frame"),
    ],
)
def test_what_is_no_frame_is_a_bad_frame_and_stays_one(data: bytes) -> None:
    decoder = wire.FrameDecoder()
    decoder.feed(data)
    for _ in range(2):
        with pytest.raises(wire.BadFrame):
            decoder.next_payload()
        decoder.feed(wire.encode_message(TimeoutNow(1)))
    assert decoder.pending == 0


def test_frames_before_a_bad_one_are_still_read() -> None:
    decoder = wire.FrameDecoder()
    decoder.feed(frame(b"one") + frame(b"two") + bytes(9))
    assert [decoder.next_payload(), decoder.next_payload()] == [b"one", b"two"]
    with pytest.raises(wire.BadFrame):
        decoder.next_payload()


def test_a_bound_can_be_widened_between_two_frames() -> None:
    decoder = wire.FrameDecoder(10)
    decoder.feed(frame(b"123456789") + frame(b"1234567890"))
    assert decoder.next_payload() == b"123456789"
    decoder.frame_bytes_max = 11
    assert decoder.next_payload() == b"1234567890"


def test_a_claimed_length_costs_nothing_until_bytes_arrive() -> None:
    decoder = wire.FrameDecoder()
    tracemalloc.start()
    decoder.feed(struct.pack(">II", limits.FRAME_BYTES_MAX, 0))
    assert decoder.next_payload() is None
    decoder.feed(b"x" * 1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000
    assert decoder.pending == 1_008


def lz4_claiming(size: int, content: bytes) -> bytes:
    """An LZ4 frame of `content` whose header claims `size`, with the header's checksum made right."""
    packed = bytearray(lz4.frame.compress(content))
    packed[6:14] = size.to_bytes(8, "little")
    for checksum in range(256):
        packed[14] = checksum
        try:
            lz4.frame.get_frame_info(bytes(packed))
        except RuntimeError:
            continue
        return bytes(packed)
    raise AssertionError("no checksum fits")


@pytest.mark.parametrize("size", [1, 99_999, 100_001, 25_000_000, limits.DECOMPRESSED_BYTES_MAX + 1, 1 << 62])
def test_a_compressed_frame_that_lies_about_its_size_is_refused_without_allocating_it(size: int) -> None:
    data = frame(lz4_claiming(size, b"a" * 100_000), flags=1)
    assert peak_bytes(lambda: payloads(data)) < 1_000_000


def test_a_handshake_decoder_does_not_decompress_beyond_its_bound() -> None:
    data = frame(lz4.frame.compress(bytes(limits.HANDSHAKE_BYTES_MAX + 1)), flags=1)
    with pytest.raises(wire.BadFrame):
        payloads(data, frame_bytes_max=limits.HANDSHAKE_BYTES_MAX)


def test_nested_arrays_that_claim_to_be_long_are_refused_without_allocating_them() -> None:
    claims = (b"\xdd" + (100_000).to_bytes(4, "big")) * 500
    payload = b"\x94\x0a\x01\xa1m" + claims + bytes(100_000)
    assert peak_bytes(lambda: wire.decode_message(payload)) < 10 * len(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="reserved byte"),
        pytest.param(msgpack.packb([99, 1]), id="unknown tag"),
        pytest.param(msgpack.packb([9]), id="field missing"),
        pytest.param(msgpack.packb([9, 1, 1]), id="field too many"),
        pytest.param(msgpack.packb([9, -1]), id="negative term"),
        pytest.param(msgpack.packb([9, 1 << 63]), id="term above 63 bits"),
        pytest.param(msgpack.packb([9, True]), id="truth for a number"),
        pytest.param(msgpack.packb([9, 1]) + b"\0", id="trailing byte"),
        pytest.param(msgpack.packb({"term": 9}), id="a map"),
        pytest.param(msgpack.packb([10, 1, "m" * 65, []]), id="long method"),
        pytest.param(msgpack.packb([10, 1, b"m", []]), id="bytes for text"),
        pytest.param(b"\x94\x0a\x01\xa1\xff\x90", id="not utf-8"),
        pytest.param(msgpack.packb([10, 1, "m", [msgpack.ExtType(5, b"x")]]), id="extension type"),
        pytest.param(b"\x94\x0a\x01\xa1m\x91\x81\x81\x01\x02\x03", id="map as a key"),
        pytest.param(b"\x94\x0a\x01\xa1m" + b"\x91" * 100_000 + b"\x90", id="too deep"),
        pytest.param(msgpack.packb([1, 1, 1, 1, 1, 1, False, [[1, "text"]]]), id="entry that is no bytes"),
        pytest.param(msgpack.packb([1, 1, 1, 1, 1, 1, False, [[1, b"x", 3]]]), id="entry of three"),
        pytest.param(msgpack.packb([1, 1, 1, 1, 1, 1, False, None]), id="no entries"),
    ],
)
def test_what_is_no_message_is_a_bad_message(payload: bytes) -> None:
    with pytest.raises(BadMessage):
        wire.decode_message(payload)


def test_a_message_too_long_for_any_peer_is_not_encoded() -> None:
    with pytest.raises(wire.FrameTooLong):
        wire.encode_message(Call(1, "m", [bytes(limits.DECOMPRESSED_BYTES_MAX)]))


def test_the_longest_incompressible_payload_is_the_one_that_a_peer_accepts() -> None:
    noise = random.Random(1).randbytes(limits.FRAME_BYTES_MAX)
    assert payloads(wire.encode_frame(noise[:-1])) == [noise[:-1]]
    with pytest.raises(wire.FrameTooLong):
        wire.encode_frame(noise)


def test_greetings_survive_the_wire() -> None:
    for greeting in (HELLO, wire.Refusal("another cluster id")):
        (payload,) = payloads(wire.encode_greeting(greeting), frame_bytes_max=limits.HANDSHAKE_BYTES_MAX)
        assert wire.decode_greeting(payload) == greeting


def test_a_hello_of_a_later_version_with_more_fields_is_understood() -> None:
    later = msgpack.packb(
        ["hello", 3, "cluster", "n1", "id1", 7, "http://127.0.0.1:8480", "", True, 5, 2, {"new": [1]}]
    )
    known = wire.Hello(3, "cluster", "n1", "id1", 7, "http://127.0.0.1:8480", features=5, calls=2)
    assert wire.decode_greeting(later) == known
    assert wire.speaks(3)
    assert wire.speaks(1)
    assert not wire.speaks(wire.PROTOCOL_VERSION_MIN - 1)


@pytest.mark.parametrize(
    "hello",
    [
        ["hello", 0, "c", "n1", "i", 1, ""],
        ["hello", 1, "c", "", "i", 1, ""],
        ["hello", 1, "c", "n" * 65, "i", 1, ""],
        ["hello", 1, "c" * 513, "n1", "i", 1, ""],
        ["hello", 1, "c", "n1", "i", -1, ""],
        ["hello", 1, "c", "n1", "i", 1],
        ["refused"],
        ["goodbye", 1],
        [9, 1],
        "hello",
    ],
)
def test_what_is_no_greeting_is_a_bad_message(hello: Any) -> None:
    with pytest.raises(BadMessage):
        wire.decode_greeting(msgpack.packb(hello))


def test_a_hello_that_peers_would_not_accept_is_found_at_home() -> None:
    assert wire.checked(HELLO) == HELLO
    with pytest.raises(ValueError, match="length"):
        wire.checked(wire.Hello(1, "c", "n" * 65, "i", 1, ""))

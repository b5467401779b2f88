"""Frames and handshakes as bytes: what peers put on a connection. Pure, no I/O.

A frame is

    u32 length | u32 CRC32C | u8 flags | payload          (big endian)

`length` counts flags and payload, the checksum covers both, bit 0 of flags says that the payload is an LZ4 frame. The
payload is one msgpack array: a message (kvstore.consensus.messages), or on a new connection a Hello or a Refusal.

What arrives is hostile until proved otherwise. A length is checked before anything is kept for it, a decompressed size
before anything is allocated for it. The decoder of msgspec is used, which builds the declared types straight from the
bytes: it allocates no array for the length that a header merely claims, and is an order of magnitude faster than
unpacking first and checking afterwards. Everything that is wrong with received bytes is a BadMessage.
"""

import struct
from typing import Annotated, Any, Final, NoReturn

import google_crc32c
import lz4.frame
import msgspec

from kvstore import limits
from kvstore.consensus.messages import BadMessage, Index, Message

PROTOCOL_VERSION: Final = 1
PROTOCOL_VERSION_MIN: Final = 1

_PREFIX: Final = struct.Struct(">II")
_HEAD: Final = struct.Struct(">IIB")
_FLAG_LZ4: Final = 1
_FLAG_CRCS: Final = tuple(google_crc32c.value(bytes((flags,))) for flags in (0, _FLAG_LZ4))
_LZ4_RATIO_MAX: Final = 255  # a byte of an LZ4 block stands for at most 255 bytes of output

_Text = Annotated[str, msgspec.Meta(max_length=limits.HANDSHAKE_TEXT_CHARS_MAX)]
_NodeName = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME_CHARS_MAX)]


class BadFrame(BadMessage):
    """Bytes from a peer that are no frame: length, checksum, flags or compression are wrong."""


class FrameTooLong(ValueError):
    """A message of our own that no peer would accept. It was not sent."""


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """Who speaks. `protocol` is the highest version it knows, `features` its level of kvstore.model.features,
    `calls` how far its calls go (messages.CALLS). Later versions may add fields at the end.
    """

    protocol: Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]
    cluster_id: _Text
    name: _NodeName
    identity: _Text
    incarnation: Index
    http: _Text
    address: _Text = ""
    has_log: bool = True
    features: Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)] = 1
    calls: Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)] = 1


class Refusal(msgspec.Struct, array_like=True, frozen=True, tag="refused"):
    """The acceptor's answer to a Hello that it does not want, and why."""

    reason: _Text


Greeting = Hello | Refusal


def telling(hello: Hello, *, has_log: bool) -> Hello:
    """The same, with what may change from one handshake to the next."""
    return msgspec.structs.replace(hello, has_log=has_log)


def _reject_extension(code: int, data: memoryview) -> NoReturn:
    raise BadMessage(f"extension type {code}")


_pack = msgspec.msgpack.Encoder().encode
_unpack_greeting: Final = msgspec.msgpack.Decoder(Greeting).decode
_unpack_message: Final = msgspec.msgpack.Decoder(Message, ext_hook=_reject_extension).decode


def speaks(protocol: int) -> bool:
    """Whether a peer whose highest version is `protocol` and this build have one in common: the lower of the two."""
    return min(protocol, PROTOCOL_VERSION) >= PROTOCOL_VERSION_MIN


def encode_message(message: Message) -> bytes:
    """The frame of `message`. Raises FrameTooLong; TypeError for a body that msgpack cannot express."""
    return encode_frame(_pack(message))


def encode_greeting(greeting: Greeting) -> bytes:
    """The frame of a handshake message. Raises FrameTooLong."""
    frame = encode_frame(_pack(greeting))
    if len(frame) > limits.HANDSHAKE_BYTES_MAX:
        raise FrameTooLong(f"a greeting of {len(frame)} bytes")
    return frame


def checked(hello: Hello) -> Hello:
    """`hello` as a peer will read it. Raises ValueError where it breaks a bound that the peer would refuse it for."""
    return msgspec.convert(msgspec.to_builtins(hello), Hello)


def encode_frame(payload: bytes) -> bytes:
    """The frame of `payload`, compressed where that is worth it. Raises FrameTooLong."""
    flags = 0
    if len(payload) > limits.FRAME_COMPRESS_BYTES_MIN:
        if len(payload) > limits.DECOMPRESSED_BYTES_MAX:
            raise FrameTooLong(f"a message of {len(payload)} bytes")
        packed = lz4.frame.compress(payload, store_size=True)
        if len(packed) < len(payload):
            flags, payload = _FLAG_LZ4, packed
        if len(payload) >= limits.FRAME_BYTES_MAX:
            raise FrameTooLong(f"a frame of {len(payload)} bytes")
    return _HEAD.pack(len(payload) + 1, google_crc32c.extend(_FLAG_CRCS[flags], payload), flags) + payload


def decode_message(payload: bytes) -> Message:
    """The message in `payload`, every field checked. Raises BadMessage, also for a tag that is not known."""
    return _decode(_unpack_message, payload)  # type: ignore[no-any-return]


def decode_greeting(payload: bytes) -> Greeting:
    """The handshake message in `payload`. Raises BadMessage."""
    return _decode(_unpack_greeting, payload)  # type: ignore[no-any-return]


def _decode(unpack: Any, payload: bytes) -> Any:
    try:
        return unpack(payload)
    except BadMessage:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as broken:
        raise BadMessage(str(broken)) from broken


class FrameDecoder:
    """Cuts a stream of bytes into payloads, whatever the pieces it arrives in.

    `feed` a piece, then call `next_payload` until it gives None. Keeps at most one incomplete frame, and nothing for
    bytes that have not arrived. Every byte is copied a bounded number of times, however small the pieces. After a
    BadFrame the stream cannot be read any further, and every later call raises it again.
    """

    __slots__ = ("_at", "_broken", "_data", "_need", "_partial", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int = limits.FRAME_BYTES_MAX) -> None:
        """`frame_bytes_max` bounds flags and payload of a frame; it may be changed between two frames."""
        self.frame_bytes_max = frame_bytes_max
        self._data = b""  # pieces that hold at least one whole frame, read up to _at
        self._at = 0
        self._partial = bytearray()  # the beginning of a frame that takes _need bytes, prefix included
        self._need = _PREFIX.size
        self._broken: str | None = None

    def feed(self, data: bytes) -> None:
        """Take in the next piece. Never raises."""
        if self._broken is not None:
            return
        if self._at < len(self._data):
            data = self._data[self._at :] + data
        elif self._partial:
            self._partial += data
            if len(self._partial) < self._need:
                return
            data = bytes(self._partial)
            self._partial.clear()
        self._data, self._at = data, 0

    def next_payload(self) -> bytes | None:
        """The next payload, decompressed, or None until more is fed. Raises BadFrame."""
        if self._broken is not None:
            raise BadFrame(self._broken)
        data, at = self._data, self._at
        left = len(data) - at
        if left < _PREFIX.size:
            self._keep(_PREFIX.size)
            return None
        length, crc = _PREFIX.unpack_from(data, at)
        if not 0 < length <= self.frame_bytes_max:
            raise self._bad(f"a frame of {length} bytes, where 1 to {self.frame_bytes_max} are allowed")
        end = at + _PREFIX.size + length
        if end > len(data):
            self._keep(_PREFIX.size + length)
            return None
        flags = data[at + _PREFIX.size]
        if flags > _FLAG_LZ4:
            raise self._bad(f"flags {flags:#x}")
        payload = data[at + _HEAD.size : end]
        if google_crc32c.extend(_FLAG_CRCS[flags], payload) != crc:
            raise self._bad("checksum")
        if flags:
            try:
                payload = _decompress(payload, self.frame_bytes_max)
            except BadFrame as broken:
                raise self._bad(str(broken)) from broken
        self._at = end
        return payload

    @property
    def pending(self) -> int:
        """Bytes that were fed and not yet handed out."""
        return len(self._data) - self._at + len(self._partial)

    def _bad(self, problem: str) -> BadFrame:
        self._broken = problem
        self._data, self._at, self._partial = b"", 0, bytearray()
        return BadFrame(problem)

    def _keep(self, need: int) -> None:
        if self._at < len(self._data):
            self._partial += memoryview(self._data)[self._at :]
            self._data, self._at = b"", 0
        self._need = need


def _decompress(packed: bytes, frame_bytes_max: int) -> bytes:
    """The content of one whole LZ4 frame that states its size. Raises BadFrame."""
    bound = limits.DECOMPRESSED_BYTES_MAX if frame_bytes_max >= limits.FRAME_BYTES_MAX else frame_bytes_max
    try:
        size = int(lz4.frame.get_frame_info(packed)["content_size"])
        if not 0 < size <= min(bound, len(packed) * _LZ4_RATIO_MAX):
            raise BadFrame(f"{len(packed)} bytes that claim to decompress to {size}")
        decompressor = lz4.frame.LZ4FrameDecompressor()
        payload: bytes = decompressor.decompress(packed, max_length=size)
    except (RuntimeError, EOFError) as broken:
        raise BadFrame(f"compression: {broken}") from broken
    if len(payload) != size or not decompressor.eof or decompressor.unused_data:
        raise BadFrame(f"compression: not a frame of {size} bytes")
    return payload

"""Conversations with the peer port of a node: valid ones that were damaged, and how each has to end.

Whoever may say hello to a node is trusted with its log: Raft is no protection against a member that lies, and without
TLS everybody who knows the cluster id passes for one. So what is sent here under a right checksum, after a hello that
is let in, is either unreadable or harmless by Raft's own rules: of a term that is over, an answer to no question, a
call of a kind that changes nothing. `dangers` decides that from the bytes themselves, before anything is sent. Damage
of every other kind has no such bound.
"""

import random
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import google_crc32c
import lz4.frame
import msgpack
import msgspec

from kvstore import limits
from kvstore.consensus import messages as m
from kvstore.consensus import wire
from tests.fuzz.mutations import damaged
from tests.support.plain_messages import to_array

HARMLESS_CALLS: Final = frozenset({"clock", "read_index", "receipt", "inspect", "status", "drain", "keep_alive"})
KNOWN_CALLS: Final = HARMLESS_CALLS | {"write", "writes", "intents", "retire", "members"}
FRAMES_MAX: Final = 16

BAD, TRUNCATED, REFUSED, LATE, CLOSED = "bad", "truncated", "refused", "late", "closed"
ENDS: Final = (BAD, TRUNCATED, REFUSED, LATE, CLOSED)


class Facts(NamedTuple):
    """What the fuzzer knows of the node that it talks to. `floor`: a term that the node has reached."""

    target: str
    cluster_id: str
    members: dict[str, str]
    floor: int
    stranger: str
    address: str


@dataclass(frozen=True)
class Conversation:
    """`data` goes out at once. `hold`: the sending side stays open, so that the node has to end it."""

    data: bytes
    mutated: int
    ends: str
    hold: bool = False


def frame(payload: bytes, flags: int = 0) -> bytes:
    """Any payload under a right checksum."""
    content = bytes((flags,)) + payload
    return struct.pack(">II", len(content), google_crc32c.value(content)) + content


def hello(facts: Facts, rng: random.Random, **other: Any) -> wire.Hello:
    """One that is let in, but for what `other` says."""
    told = wire.Hello(1, facts.cluster_id, facts.stranger, "f" * 16, rng.randrange(1, 1 << 40), "", facts.address)
    return msgspec.structs.replace(told, **other)


def dangers(message: m.Message, floor: int) -> bool:
    """Whether a member that says this could change anything."""
    if isinstance(message, m.Return):
        return False
    if isinstance(message, m.Call):
        return message.method in KNOWN_CALLS - HARMLESS_CALLS
    return message.term >= floor


def foretold(data: bytes, facts: Facts) -> tuple[str, list[m.Message]]:
    """How the node has to end a conversation of these bytes and then the end, and what it hears before."""
    decoder = wire.FrameDecoder(limits.HANDSHAKE_BYTES_MAX)
    decoder.feed(data)
    heard: list[m.Message] = []
    try:
        payload = decoder.next_payload()
        if payload is None:
            return (TRUNCATED if decoder.pending else CLOSED), heard
        greeting = wire.decode_greeting(payload)
        if isinstance(greeting, wire.Refusal):
            return BAD, heard
        if not _let_in(greeting, facts):
            return REFUSED, heard
        decoder.frame_bytes_max = limits.FRAME_BYTES_MAX
        while (payload := decoder.next_payload()) is not None:
            heard.append(wire.decode_message(payload))
    except m.BadMessage:
        return BAD, heard
    return (TRUNCATED if decoder.pending else CLOSED), heard


def _let_in(greeting: wire.Hello, facts: Facts) -> bool:
    """As the node decides it, for a node that has met this stranger, and knows where it lives."""
    if greeting.cluster_id != facts.cluster_id or not wire.speaks(greeting.protocol):
        return False
    if greeting.name in facts.members:
        return greeting.name != facts.target and greeting.identity == facts.members[greeting.name]
    return greeting.name == facts.stranger


class Talker:
    """Makes conversations; the same of the same `rng`."""

    def __init__(self, recorded: tuple[m.Message, ...], facts: Facts) -> None:
        self._recorded = recorded
        self._facts = facts

    def conversation(self, rng: random.Random) -> Conversation:
        """One of a random kind."""
        kind = rng.choices((self._greeting, self._talk), (1, 9))[0]
        while True:
            made = kind(rng)
            if made is not None:
                return made

    def _judged(self, data: bytes, mutated: int, rng: random.Random) -> Conversation | None:
        """None for what must not be said, or would be somebody else than the stranger."""
        ends, heard = foretold(data, self._facts)
        if any(dangers(message, self._facts.floor) for message in heard):
            return None
        if self._impersonates(data):
            return None
        # Now and then nothing more comes after half a hello: the node has to lose its patience.
        hold = ends == TRUNCATED and not heard and rng.random() < 0.002 and self._waits_for_hello(data)
        return Conversation(data, mutated, LATE if hold else ends, hold)

    def _impersonates(self, data: bytes) -> bool:
        """It would take the place of a real member, whose connection would be cut; or add one more stranger."""
        decoder = wire.FrameDecoder(limits.HANDSHAKE_BYTES_MAX)
        decoder.feed(data)
        try:
            payload = decoder.next_payload()
            greeting = None if payload is None else wire.decode_greeting(payload)
        except m.BadMessage:
            return False
        if not isinstance(greeting, wire.Hello) or greeting.cluster_id != self._facts.cluster_id:
            return False
        if greeting.name in self._facts.members:
            return greeting.name != self._facts.target and greeting.identity == self._facts.members[greeting.name]
        return greeting.name != self._facts.stranger

    def _waits_for_hello(self, data: bytes) -> bool:
        decoder = wire.FrameDecoder(limits.HANDSHAKE_BYTES_MAX)
        decoder.feed(data)
        try:
            return decoder.next_payload() is None
        except m.BadMessage:
            return False

    # Before a hello is accepted.

    def _greeting(self, rng: random.Random) -> Conversation | None:
        facts = self._facts
        sound = wire.encode_greeting(hello(facts, rng))
        match rng.randrange(11):
            case 0:
                data = rng.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"*1\r\n$4\r\nPING\r\n"))
                data += rng.randbytes(rng.randrange(300))
            case 1:
                data = damaged(rng, sound)
            case 2:
                data = frame(damaged(rng, sound[9:]), rng.choice((0, 0, 0, 1, 2, 255)))
            case 3:
                data = sound[: rng.randrange(len(sound))]
            case 4:
                data = wire.encode_greeting(hello(facts, rng, cluster_id=_text(rng)))
            case 5:
                name = rng.choice(sorted(facts.members))
                data = wire.encode_greeting(hello(facts, rng, name=name, identity=_text(rng)))
            case 6:
                data = wire.encode_greeting(hello(facts, rng, name=facts.target, identity=facts.members[facts.target]))
            case 7:
                data = self._lying_length(rng, sound)
            case 8:
                data = b"".join(wire.encode_message(self._any(rng)) for _ in range(rng.randint(1, 3)))
            case 9:
                data = wire.encode_greeting(wire.Refusal("go away")) + sound
            case _:
                data = frame(_deep(rng), 0) if rng.random() < 0.5 else _bomb(rng)
        return self._judged(data, 1, rng)

    # After it.

    def _talk(self, rng: random.Random) -> Conversation | None:
        opening = wire.encode_greeting(hello(self._facts, rng))
        count = rng.randint(0, FRAMES_MAX)
        frames = [made for made in (self._harmless(rng) for _ in range(count)) if made is not None]
        last = self._last(rng, opening + b"".join(frames))
        data = opening + b"".join(frames) + last
        if rng.random() < 0.03:
            data += data  # all of it once more: a second hello is no message
        return self._judged(data, len(frames) + 1, rng)

    def _last(self, rng: random.Random, before: bytes) -> bytes:
        """A frame that ends the connection, most of the time."""
        message = self._any(rng)
        sound = wire.encode_message(message)
        match rng.randrange(10):
            case 0 | 1:
                return damaged(rng, sound)
            case 2:
                return sound[: rng.randrange(len(sound))]
            case 3:
                return self._lying_length(rng, sound)
            case 4:
                return frame(damaged(rng, msgpack.packb(to_array(message))), rng.choice((0, 0, 0, 1, 2)))
            case 5:
                return _bomb(rng)
            case 6:
                return frame(_deep(rng))
            case 7:
                return frame(self._odd(rng, message))
            case 8:
                return wire.encode_greeting(hello(self._facts, rng))
            case _:
                return rng.randbytes(rng.randrange(1, 200))

    def _any(self, rng: random.Random) -> m.Message:
        return rng.choice(self._recorded)

    def _harmless(self, rng: random.Random) -> bytes | None:
        """A recorded message with other contents: a replay out of its time, or one that makes no sense."""
        message = self._any(rng)
        if isinstance(message, m.Call):
            name = rng.choice((*sorted(HARMLESS_CALLS), "nothing", message.method + "?"))
            changed = msgspec.structs.replace(message, method=name, body=_body(rng, message.body))
        elif isinstance(message, m.Return):
            changed = msgspec.structs.replace(message, id=rng.getrandbits(40))
        else:
            changed = msgspec.structs.replace(message, term=rng.randrange(self._facts.floor))
        array = list(to_array(changed))
        for _ in range(rng.randint(0, 2)):
            at = rng.randrange(1, len(array))
            if isinstance(array[at], bool):
                array[at] = not array[at]
            elif isinstance(array[at], int) and not (at == 1 and not isinstance(message, m.Return)):
                array[at] = rng.choice((0, 1, rng.getrandbits(31), (1 << 63) - 1))
        data = frame(msgpack.packb(array))
        try:
            decoded = wire.decode_message(msgpack.packb(array))
        except m.BadMessage:
            return None
        return None if dangers(decoded, self._facts.floor) else data

    def _odd(self, rng: random.Random, message: m.Message) -> bytes:
        """The array of a message with something in it that does not belong there."""
        array = list(to_array(message))
        odd = rng.choice((None, -1, 1 << 63, "x", b"x", [], {}, 2.5, True, [[1, 2, 3]], {"a": {"b": []}}))
        array[rng.randrange(len(array))] = odd
        if rng.random() < 0.3:
            array += [odd] * rng.randint(1, 4)
        return bytes(msgpack.packb(array))

    def _lying_length(self, rng: random.Random, sound: bytes) -> bytes:
        length = rng.choice((0, 1, len(sound), len(sound) * 2, limits.FRAME_BYTES_MAX, limits.FRAME_BYTES_MAX + 1, -1))
        return struct.pack(">I", length & 0xFFFFFFFF) + sound[4:]


@cache
def _squeezed(size: int) -> bytes:
    return bytes(lz4.frame.compress(b"\0" * size, store_size=True))


def _text(rng: random.Random) -> str:
    return rng.choice(("", "0" * 32, "x" * 400, "\u2603" * 20, f"{rng.getrandbits(128):032x}"))


def _body(rng: random.Random, body: list[Any]) -> list[Any]:
    return rng.choice((body, [], [*body, None], body[:1], [rng.getrandbits(60)], [{"a": [[]]}], [b"x" * 500, "y"]))


def _deep(rng: random.Random) -> bytes:
    """A call whose body is nested as deep as it has bytes, as an array, a map, or never closed."""
    depth = rng.choice((100, 1_000, 20_000, 60_000))
    inner = rng.choice(
        (b"\x91" * depth + b"\x00", b"\x81\xa1k" * depth + b"\xc0", b"\x91" * depth, b"\xdd\xff\xff\xff\xff")
    )
    return b"\x94\x0a\x01\xa7nothing" + inner


def _bomb(rng: random.Random) -> bytes:
    """A compressed frame whose content is large, or claims to be."""
    size = rng.choice((1 << 14, 1 << 16, 1 << 18, 1 << 20))
    if rng.random() < 0.01:
        size = limits.DECOMPRESSED_BYTES_MAX + rng.choice((-1_000, 1_000))
    packed = bytearray(_squeezed(size))
    if rng.random() < 0.5:
        packed[6:14] = struct.pack("<Q", rng.choice((1, 1 << 30, 1 << 62, (1 << 64) - 1)))
    return frame(bytes(packed), 1)

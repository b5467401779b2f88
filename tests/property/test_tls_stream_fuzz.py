"""Whatever bytes come to a door that speaks TLS, in whatever pieces: the handshake is refused with a reason, or goes on
waiting within its bounds; nothing is raised, and nothing above it hears a word.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvstore import limits
from kvstore.security import authority
from kvstore.security.reasons import REASONS
from kvstore.security.stream import TlsStream


class Raw(asyncio.Transport):
    """The socket below: what was written to it, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def write_eof(self) -> None:
        """Nothing more is said."""

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """As asked."""

    def resume_reading(self) -> None:
        """As asked."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asked."""


class Handshakes:
    """Notes what came of them."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.finished = 0

    def begun(self, stream: TlsStream) -> None:
        """One is under way."""

    def done(self, stream: TlsStream) -> asyncio.BaseProtocol:
        self.finished += 1
        return asyncio.Protocol()

    def failed(self, stream: TlsStream, reason: str, detail: str) -> None:
        self.reasons.append(reason)

    def gone(self, stream: TlsStream) -> None:
        """It has ended."""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    directory: Path = tmp_path_factory.mktemp("pki")
    authority.make_ca(directory)
    authority.make_node(directory, "n1")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(directory / "node-n1.pem", directory / "node-n1-key.pem")
    return made


def greeting() -> bytes:
    """What a sound client says first."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    line = client.wrap_bio(ssl.MemoryBIO(), out, server_hostname="n1")
    with pytest.raises(ssl.SSLWantReadError):
        line.do_handshake()
    return out.read()


GREETING = greeting()
CHANGES = st.lists(st.tuples(st.integers(0, len(GREETING) - 1), st.integers(0, 255)), max_size=6)


async def hear(context: ssl.SSLContext, pieces: list[bytes]) -> tuple[Handshakes, Raw]:
    told, raw = Handshakes(), Raw()
    stream = TlsStream(lambda: context, told, server_side=True, plain_answer=lambda: b"this is TLS")
    stream.connection_made(raw)
    for piece in pieces:
        if raw.closed:
            break
        stream.data_received(piece)
    if not raw.closed:
        stream.eof_received()
    stream.connection_lost(None)
    return told, raw


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [part for start, end in zip([0, *ends], [*ends, len(data)], strict=True) if (part := data[start:end])]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES, st.binary(max_size=300), st.integers(0, len(GREETING)), st.lists(st.integers(0, 2_000), max_size=5))
def test_no_damaged_greeting_gets_past_the_handshake(
    context: ssl.SSLContext, changes: list[tuple[int, int]], behind: bytes, length: int, cuts: list[int]
) -> None:
    data = bytearray(GREETING[:length])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    told, raw = asyncio.run(hear(context, pieces_of(bytes(data) + behind, cuts)))
    assert told.finished == 0
    assert set(told.reasons) <= set(REASONS)
    assert len(told.reasons) <= 1
    assert len(raw.sent) < 8 << 10, "little is said before anybody has proved anything"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_what_is_no_tls_is_told_so(context: ssl.SSLContext, data: bytes, cuts: list[int]) -> None:
    told, raw = asyncio.run(hear(context, pieces_of(data, cuts)))
    assert told.finished == 0
    if data[0] != 0x16:
        assert told.reasons == ["not_tls"]
        assert raw.sent == b"this is TLS"


def test_more_than_a_handshake_may_have_is_refused(context: ssl.SSLContext) -> None:
    record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(16_380)
    told, _ = asyncio.run(hear(context, [record] * (limits.TLS_HANDSHAKE_BYTES_MAX // len(record) + 2)))
    assert told.finished == 0
    assert told.reasons

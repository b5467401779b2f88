"""Replies as bytes, and patterns."""

import fnmatch
import time

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.redis.glob import Glob
from kvstore.redis.replies import NIL_ARRAY, OK, RESP2, RESP3, Error, Push, Simple, encode, error


@pytest.mark.parametrize(
    ("reply", "two", "three"),
    [
        (b"a\r\n", b"$3\r\na\r\n\r\n", b"$3\r\na\r\n\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        (-7, b":-7\r\n", b":-7\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (NIL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (OK, b"+OK\r\n", b"+OK\r\n"),
        (Error(b"ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        ([1, [b"x", None]], b"*2\r\n:1\r\n*2\r\n$1\r\nx\r\n$-1\r\n", b"*2\r\n:1\r\n*2\r\n$1\r\nx\r\n_\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Push([b"x"]), b"*1\r\n$1\r\nx\r\n", b">1\r\n$1\r\nx\r\n"),
        ((Simple(b"a"), b""), b"*2\r\n+a\r\n$0\r\n\r\n", b"*2\r\n+a\r\n$0\r\n\r\n"),
    ],
)
def test_both_protocols(reply: object, two: bytes, three: bytes) -> None:
    assert encode(reply, RESP2) == two
    assert encode(reply, RESP3) == three


def test_what_is_no_reply_is_a_fault() -> None:
    with pytest.raises(TypeError):
        encode(1.5, RESP3)


def test_an_error_is_one_line() -> None:
    assert error("ERR", "a\r\n-b\nc") == b"ERR a  -b c"


PLAIN = st.recursive(
    st.one_of(st.binary(max_size=8), st.integers(-(1 << 62), 1 << 62), st.none()),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_a_client_reads_what_was_told(reply: object) -> None:
    for protocol in (RESP2, RESP3):
        reader = hiredis.Reader()
        reader.feed(encode(reply, protocol))
        assert reader.gets() == reply


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        (b"*", [b"", b"a\n\xff"], []),
        (b"", [b""], [b"a"]),
        (b"h?llo", [b"hello", b"h\nllo"], [b"hllo", b"heello"]),
        (b"h*llo", [b"hllo", b"heeello"], [b"hell"]),
        (b"h[ae]llo", [b"hallo"], [b"hillo"]),
        (b"h[^e]llo", [b"hallo"], [b"hello"]),
        (b"h[a-c]llo", [b"hbllo"], [b"hdllo"]),
        (b"h[c-a]llo", [b"hbllo"], [b"hdllo"]),
        (b"a\\*b", [b"a*b"], [b"axb"]),
        (b"[\\]]", [b"]"], [b"\\"]),
        (b"a*a", [b"aa", b"aba"], [b"a"]),
        (b"*.[", [], [b"x."]),
        (b"user:*:name", [b"user:1:name"], [b"user:name", b"user:1:names"]),
    ],
)
def test_patterns(pattern: bytes, fits: list[bytes], others: list[bytes]) -> None:
    glob = Glob(pattern)
    assert [text for text in (*fits, *others) if glob.matches(text)] == fits
    assert all(text.startswith(glob.prefix) for text in fits)


@settings(max_examples=500, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_stars_are_those_of_a_shell(pattern: str, text: str) -> None:
    assert Glob(pattern.encode()).matches(text.encode()) == fnmatch.fnmatchcase(text, pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    began = time.process_time()
    assert not Glob(b"*a" * 2_000 + b"*b").matches(b"a" * 4_000)
    assert time.process_time() - began < 1.0

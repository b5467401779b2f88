"""Requests taken apart: nothing guessed, nothing normalised, nothing silently ignored."""

import base64
from contextlib import suppress
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import limits
from kvstore.errors import BadRequest, KeyTooLong
from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, NDJSON, OCTETS
from kvstore.http.routes import ROUTES, by_path
from kvstore.model.commands import MUST_BE_ABSENT, MUST_EXIST
from kvstore.model.keys import prefix_end
from kvstore.model.levels import Level
from kvstore.model.stamp import Stamp

keys = st.binary(min_size=1, max_size=200)
AT_M = parse.Cursor(b"m", 3, 9)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("a//b", b"a//b"),
        ("../x/./y", b"../x/./y"),
        ("a%2Fb", b"a/b"),
        ("a%252Fb", b"a%2Fb"),
        ("%00", b"\x00"),
        ("%ff%FE", b"\xff\xfe"),
        ("a+b", b"a+b"),
        ("a&b=c;d", b"a&b=c;d"),
        ("/", b"/"),
        ("\udcff", b"\xff"),
        ("é", "é".encode()),
    ],
)
def test_a_path_key_is_decoded_once_and_never_normalised(raw: str, key: bytes) -> None:
    assert parse.key_of(raw) == key


@given(keys)
def test_every_key_survives_percent_encoding(key: bytes) -> None:
    assert parse.key_of(quote_from_bytes(key, safe="")) == key
    assert parse.key_of("".join(f"%{byte:02x}" for byte in key)) == key


@pytest.mark.parametrize("raw", ["%", "%4", "%zz", "a%", "a%2", "a%2g", "%%41", "% 41", "%+1"])
def test_broken_percent_encoding_is_refused(raw: str) -> None:
    with pytest.raises(BadRequest, match="percent"):
        parse.key_of(raw)


def test_key_bounds() -> None:
    assert len(parse.key_of("k" * limits.KEY_BYTES_MAX)) == limits.KEY_BYTES_MAX
    assert len(parse.key_of("%61" * limits.KEY_BYTES_MAX)) == limits.KEY_BYTES_MAX
    for raw in ("k" * (limits.KEY_BYTES_MAX + 1), "%61" * (limits.KEY_BYTES_MAX + 1)):
        with pytest.raises(KeyTooLong):
            parse.key_of(raw)
    with pytest.raises(BadRequest, match="empty"):
        parse.key_of("")


@pytest.mark.parametrize(
    ("target", "split"),
    [
        ("/v1/kv/a?level=one", ("/v1/kv/a", "level=one")),
        ("/v1/kv/a?b?c", ("/v1/kv/a", "b?c")),
        ("/v1/kv//a", ("/v1/kv//a", "")),
        ("http://host:1/v1/kv/http://x?y", ("/v1/kv/http://x", "y")),
        ("http://host", ("/", "")),
        ("*", ("*", "")),
    ],
)
def test_targets_are_split_at_the_first_question_mark(target: str, split: tuple[str, str]) -> None:
    assert parse.split_target(target) == split


def test_defaults_are_quorum_and_the_default_deadline() -> None:
    assert parse.write_options("") == (Level.QUORUM, limits.TIMEOUT_MS_DEFAULT / 1_000)
    assert parse.read_options("") == (Level.QUORUM, limits.TIMEOUT_MS_DEFAULT / 1_000, None, None, None)
    assert parse.read_options("level=one&timeout_ms=20&min_revision=0") == (Level.ONE, 0.02, 0, None, None)
    assert parse.read_options("level=one&max_staleness_ms=150").max_staleness_s == 0.15
    assert parse.write_options("&level=a%6cl&").level is Level.ALL


@pytest.mark.parametrize(
    "query",
    [
        "level=QUORUM",
        "level=",
        "level",
        "level=%ff",
        "level=two",
        "levle=all",
        "level=all&level=all",
        "timeout_ms=0",
        "timeout_ms=-1",
        "timeout_ms=1.5",
        "timeout_ms=600001",
        "timeout_ms=%D9%A1",
        "timeout_ms=",
        "timeout=1",
        "\udcff=1",
        "level=%zz",
    ],
)
def test_bad_parameters_are_refused_by_every_operation(query: str) -> None:
    for options in (parse.write_options, parse.read_options, parse.range_options):
        with pytest.raises(BadRequest) as refused:
            options(query)
        refused.value.detail.encode()


def test_a_read_at_a_revision_takes_nothing_that_asks_for_the_present() -> None:
    assert parse.read_options("revision=7").revision == 7
    assert parse.read_options("revision=0&level=one").revision == 0
    for query in ("revision=7&level=all", "revision=7&min_revision=3", "revision=7&level=one&max_staleness_ms=5"):
        with pytest.raises(BadRequest, match="at a revision"):
            parse.read_options(query)


def test_a_lease_goes_with_a_put_alone() -> None:
    assert parse.put_options("lease=7").lease == 7
    assert parse.put_options("").lease == 0
    for query in ("lease=0", "lease=-1", "lease=x", "lease=9223372036854775808"):
        with pytest.raises(BadRequest):
            parse.put_options(query)
    with pytest.raises(BadRequest, match="unknown parameter"):
        parse.write_options("lease=7")


def test_a_range_is_deleted_only_where_one_is_named() -> None:
    options = parse.range_delete_options("prefix=a%2F&dry_run=true&level=all")
    assert (options.start, options.end, options.dry_run, options.level) == (b"a/", b"a0", True, Level.ALL)
    assert parse.range_delete_options("prefix=")[2:4] == (b"", None)
    assert parse.range_delete_options("start=b")[2:4] == (b"b", None)
    for query in ("", "dry_run=true", "prefix=a&level=one", "prefix=a&start=b", "prefix=a&limit=3"):
        with pytest.raises(BadRequest):
            parse.range_delete_options(query)


def test_a_watch_is_of_one_key_or_of_a_prefix_and_goes_on_behind_what_was_told() -> None:
    assert parse.watch_options("key=a", None)[:4] == (b"a", False, None, False)
    assert parse.watch_options("prefix=&from=7&previous=true", None)[:4] == (b"", True, 7, True)
    assert parse.watch_options("key=a&from=7", "41").start == 42
    for query in ("", "key=", "key=a&prefix=b", "key=a&from=0", "key=a&previous=1", "key=a&level=one"):
        with pytest.raises(BadRequest):
            parse.watch_options(query, None)
    for told in ("x", "-1", "4.5", "1" * 20):
        with pytest.raises(BadRequest, match="Last-Event-ID"):
            parse.watch_options("key=a", told)
    with pytest.raises(KeyTooLong):
        parse.watch_options("prefix=" + "k" * (limits.KEY_BYTES_MAX + 1), None)


def test_levels_that_cannot_mean_what_is_asked_are_refused() -> None:
    for query in ("max_staleness_ms=1", "level=all&max_staleness_ms=1"):
        with pytest.raises(BadRequest, match="level one"):
            parse.read_options(query)
    with pytest.raises(BadRequest, match="ranges are read at"):
        parse.range_options("level=all")


def test_ranges_by_prefix_and_by_bounds() -> None:
    assert parse.range_options("")[2:4] == (b"", None)
    assert parse.range_options("prefix=a%2F")[2:4] == (b"a/", b"a0")
    assert parse.range_options("prefix=%ff%ff")[2:4] == (b"\xff\xff", None)
    assert parse.range_options("start=a+b&end=a%2Bc")[2:4] == (b"a b", b"a+c")
    assert parse.range_options("start=a&end=")[2:4] == (b"a", None)
    options = parse.range_options("limit=10000&reverse=true&keys_only=true&count_only=false")
    assert (options.limit, options.reverse, options.keys_only, options.count_only) == (10_000, True, True, False)


@pytest.mark.parametrize(
    "query",
    [
        "prefix=a&start=b",
        "prefix=a&end=b",
        "limit=0",
        "limit=10001",
        "reverse=yes",
        "reverse=1",
        "keys_only",
        "cursor=",
        "cursor=!!!!",
        "cursor=Pg",
        "count_only=true&limit=1",
        f"cursor={parse.cursor(AT_M, reverse=True)}",
        f"cursor={parse.cursor(AT_M, reverse=False)}&reverse=true",
        f"cursor={parse.cursor(AT_M, reverse=False)}&prefix=a",
        f"cursor={parse.cursor(AT_M, reverse=False)}&end=m",
        f"cursor={parse.cursor(AT_M, reverse=False)}&revision=4",
        "cursor=" + "A" * (limits.CURSOR_CHARS_MAX + 1),
    ],
)
def test_bad_ranges_are_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        parse.range_options(query)


def test_a_bound_above_the_length_of_a_key_is_refused() -> None:
    with pytest.raises(KeyTooLong):
        parse.range_options("prefix=" + "k" * (limits.KEY_BYTES_MAX + 1))


NUMBERS = st.integers(0, limits.REVISION_MAX)


@given(st.binary(min_size=1, max_size=limits.KEY_BYTES_MAX), NUMBERS, NUMBERS, st.booleans())
def test_a_cursor_carries_where_it_stands_and_fits_its_bound(
    key: bytes, revision: int, total: int, reverse: bool
) -> None:
    at = parse.Cursor(key, revision, total)
    text = parse.cursor(at, reverse=reverse)
    assert len(text) <= limits.CURSOR_CHARS_MAX
    assert parse.cursor_of(text.encode(), reverse=reverse) == at
    with pytest.raises(BadRequest):
        parse.cursor_of(text.encode(), reverse=not reverse)


@given(st.binary(max_size=40))
def test_whatever_a_cursor_is_made_of_it_is_read_or_refused(packed: bytes) -> None:
    raw = base64.urlsafe_b64encode(packed).rstrip(b"=")
    for reverse in (False, True):
        with suppress(BadRequest):
            at = parse.cursor_of(raw, reverse=reverse)
            assert parse.cursor(at, reverse=reverse).encode() == raw


@given(st.binary(max_size=6), st.binary(max_size=8))
def test_prefix_end_bounds_exactly_the_keys_with_the_prefix(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix)
    assert (prefix <= key and (end is None or key < end)) == key.startswith(prefix)


def test_conditions() -> None:
    assert parse.write_condition([], []) is None
    assert parse.write_condition(['"42"'], []) == 42
    assert parse.write_condition(["*"], []) == MUST_EXIST
    assert parse.write_condition([], ["*"]) == MUST_BE_ABSENT
    assert parse.write_condition(['"9223372036854775807"'], []) == limits.REVISION_MAX


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "deleting"),
    [
        (["42"], [], False),
        (['W/"42"'], [], False),
        (['"0"'], [], False),
        (['"042"'], [], False),
        (['"-1"'], [], False),
        (['"9223372036854775808"'], [], False),
        (['"1", "2"'], [], False),
        (['"1"', '"2"'], [], False),
        ([""], [], False),
        (['"x"'], [], False),
        ([], ['"42"'], False),
        (["*"], ["*"], False),
        ([], ["*"], True),
    ],
)
def test_any_other_condition_is_refused(if_match: list[str], if_none_match: list[str], deleting: bool) -> None:
    with pytest.raises(BadRequest):
        parse.write_condition(if_match, if_none_match, deleting=deleting)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", OCTETS),
        ("text/html", OCTETS),
        ("", OCTETS),
        (JSON, JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json, text/plain, */*", JSON),
        ("application/*;q=0.5, application/msgpack", MSGPACK),
        ("application/json;q=0.2, application/msgpack;q=0.8", MSGPACK),
        ("application/json;q=0, */*;q=0.1", OCTETS),
        ("application/octet-stream;q=0.1, application/json", JSON),
        (";;;,/,*", OCTETS),
    ],
)
def test_accept_chooses_among_what_is_offered(accept: str, chosen: str) -> None:
    assert parse.preferred(accept, (OCTETS, JSON, MSGPACK)) == chosen


def test_ndjson_is_chosen_only_by_name() -> None:
    offers = (JSON, MSGPACK, NDJSON)
    assert parse.preferred("application/x-ndjson", offers) == NDJSON
    assert parse.preferred("*/*", offers) == JSON


def test_request_ids_are_bounded_and_harmless() -> None:
    assert parse.request_id("order-7:retry/2") == "order-7:retry/2"
    for text in (None, "", "a b", "a\r\nX: y", 'a"b', "ä", "x" * (limits.REQUEST_ID_CHARS_MAX + 1), "a\n"):
        assert parse.request_id(text) is None


def test_the_level_of_a_refused_request_is_told_when_it_names_one() -> None:
    assert parse.level_of("") == "quorum"
    assert parse.level_of("timeout_ms=1&level=all") == "all"
    assert parse.level_of("level=ALL") is None
    assert parse.level_of("level=one&level=all") is None


def test_each_operation_stands_in_the_table_once_and_head_goes_where_get_goes() -> None:
    named = [(route.method, route.path) for route in ROUTES]
    assert len(set(named)) == len(named)
    for methods in by_path().values():
        assert ("HEAD" in methods) == ("GET" in methods)
        assert all(route.read == (method in ("GET", "HEAD")) for method, route in methods.items())


@pytest.mark.parametrize(
    ("keys", "sessions", "expected"),
    [
        ((), (), None),
        ((" a b ",), (), b"a b"),
        (("\udcff",), (), b"\xff"),
        (("k" * 256,), (), b"k" * 256),
        ((), ("7/3/2",), (7, 3, 2)),
        ((), (" 1/1/1 ",), (1, 1, 1)),
        ((), ("9223372036854775807/1/1",), (limits.REVISION_MAX, 1, 1)),
    ],
)
def test_names_of_writes(keys: tuple[str, ...], sessions: tuple[str, ...], expected: object) -> None:
    assert parse.once(keys, sessions) == expected


@pytest.mark.parametrize(
    ("keys", "sessions"),
    [
        (("",), ()),
        (("  ",), ()),
        (("k" * 257,), ()),
        (("ü" * 129,), ()),
        (("a", "a"), ()),
        (("a",), ("1/1/1",)),
        ((), ("1/1/1", "1/1/1")),
        ((), ("",)),
        ((), ("1/2",)),
        ((), ("1/2/3",)),
        ((), ("0/1/1",)),
        ((), ("1/1/0",)),
        ((), ("1/-1/1",)),
        ((), ("01/1/1",)),
        ((), ("1/1/1/1",)),
        ((), ("9223372036854775808/1/1",)),
        ((), ("1/9223372036854775808/1",)),
        ((), ("\u0661/1/1",)),
    ],
)
def test_names_that_cannot_be_one_are_refused(keys: tuple[str, ...], sessions: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest) as refused:
        parse.once(keys, sessions)
    assert refused.value.outcome == "not_applied"


@pytest.mark.parametrize(
    "stamp",
    [Stamp(1_700_000_000_000, 3, "n1", 0), Stamp(0, 0, "", 0), Stamp(10**18 - 1, 10**18 - 1, "a.b-c_d.7", 10**18 - 1)],
)
def test_stamps_come_back(stamp: Stamp) -> None:
    assert parse.stamp(f" {stamp} ") == stamp


@pytest.mark.parametrize(
    "text", ["", "1", "1.2.n1", "1.2..x", "-1.2.n1.0", "1.2.N1.0", "1.2.n 1.0", "1" * 19 + ".0.n.0"]
)
def test_what_is_no_stamp_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse.stamp(text)


@pytest.mark.parametrize("raw", ["", "0", "-1", "1x", "9223372036854775808", "%31", "\udcff", "\u0661"])
def test_what_is_no_session_is_refused(raw: str) -> None:
    assert parse.number_of("17", "session") == 17
    with pytest.raises(BadRequest):
        parse.number_of(raw, "session")


def test_the_removal_of_a_member_takes_a_flag_and_a_deadline() -> None:
    assert parse.removal_options("") == (False, limits.TIMEOUT_MS_DEFAULT / 1_000)
    assert parse.removal_options("force=true&timeout_ms=40") == (True, 0.04)
    for query in ("force=yes", "level=all"):
        with pytest.raises(BadRequest):
            parse.removal_options(query)

"""The mini-language of `kv txn`, and the shapes of transactions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcli.txn_language import parse
from kvstore.client import txn
from kvstore.client.txn import Delete, DeleteRange, Get, Put, Range, Txn, body, exists, lease, parse_steps, value

KEYS = st.binary(min_size=1, max_size=4)
RELATIONS = st.sampled_from(["=", "!=", "<", ">"])
COMPARISONS = st.one_of(
    st.builds(txn.Comparison, st.just("value"), KEYS, RELATIONS, st.binary(max_size=4)),
    st.builds(txn.Comparison, st.sampled_from(["version", "lease", "mod_revision"]), KEYS, RELATIONS, st.integers(0)),
    st.builds(txn.Comparison, st.just("exists"), KEYS, st.just("="), st.booleans()),
)
PLAIN = st.one_of(
    st.builds(Put, KEYS, st.binary(max_size=4), st.integers(0, 9)),
    st.builds(Get, KEYS),
    st.builds(Delete, KEYS),
    st.builds(DeleteRange, st.none(), KEYS, KEYS),
    st.builds(Range, KEYS, st.none(), st.none(), st.integers(0, 5), st.booleans()),
)
STEPS = st.lists(st.one_of(PLAIN, st.builds(Txn, st.lists(COMPARISONS), st.lists(PLAIN), st.lists(PLAIN))), max_size=4)


@given(st.lists(COMPARISONS, max_size=3), STEPS, STEPS)
def test_what_is_written_as_json_is_read_as_the_same(compare, then, otherwise) -> None:
    assert parse_steps(json.loads(body(compare, then, otherwise))) == (compare, then, otherwise)


def test_three_blocks() -> None:
    compare, then, otherwise = parse(
        """# who may paint
value("color") = "dark blue"
!exists("owner")
mod(color) > 5
lease('k') != 0

put owner "me and you" --lease=7
get config/ --prefix
del a

del b/ --prefix
get owner
"""
    )
    assert compare == [
        value(b"color") == b"dark blue",
        ~exists(b"owner"),
        txn.mod_revision(b"color") > 5,
        lease(b"k") != 0,
    ]
    assert then == [Put(b"owner", b"me and you", 7), Range(prefix=b"config/"), Delete(b"a")]
    assert otherwise == [DeleteRange(prefix=b"b/"), Get(b"owner")]


def test_an_empty_line_is_an_empty_block() -> None:
    assert parse("\nput a b\n") == ([], [Put(b"a", b"b")], [])
    assert parse("\n\nget a") == ([], [], [Get(b"a")])
    assert parse("") == ([], [], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("value(a) ~ b", "line 1: a comparison is like"),
        ("mod(a) > b", "line 1: mod is compared to a whole number"),
        ("value(a b) = c", "line 1: one word is wanted"),
        ("\nput a", "line 2: a request is"),
        ("\nput a b --prefix", "line 2: a request is"),
        ("\nget 'a", "line 2: No closing quotation"),
        ("\n\n\nget a", "line 4: there are three blocks"),
        ("\nget a --lease=x", "line 2: a lease is a whole number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        parse(text)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"if": []},
        {"then": {}},
        {"then": [1]},
        {"then": [{"op": "burn", "key": "k"}]},
        {"then": [{"op": "get"}]},
        {"compare": [{"key": "k", "target": "version", "to": "x"}]},
    ],
)
def test_json_that_is_no_transaction_is_refused(document) -> None:
    with pytest.raises(ValueError, match="must be|give|is unknown|is compared|is an object"):
        parse_steps(document)


def test_comparisons_cannot_be_mistaken() -> None:
    with pytest.raises(TypeError):
        value(b"k") == "text"  # noqa: B015
    with pytest.raises(TypeError):
        txn.version(b"k") == b"1"  # noqa: B015
    with pytest.raises(TypeError):
        ~(value(b"k") == b"v")

"""A receipt's id: it names node, epoch and sequence, and is read back exactly or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.errors import BadRequest
from kvstore.model.stamp import Stamp
from kvstore.node.intents import Intent
from kvstore.node.receipts import ReceiptId, parse_receipt_id, receipt_id

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True)
NUMBERS = st.integers(1, (1 << 63) - 1)


@given(node=NAMES, epoch=NUMBERS, sequence=NUMBERS)
def test_an_id_is_read_back_as_it_was_written(node: str, epoch: int, sequence: int) -> None:
    found = ReceiptId(node, epoch, sequence)
    assert parse_receipt_id(str(found)) == found


def test_the_id_of_an_intent_names_its_node_epoch_and_sequence() -> None:
    intent = Intent(9, 0x1DEADBEEF, 12, (1, b"k", 5, 0, None), Stamp(5, 0, "n1.eu", 12))
    assert receipt_id("n1.eu", intent) == "n1.eu.1deadbeef.12"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n1",
        "n1.1",
        ".1.1",
        "..",
        "n1..1",
        "n1.1.",
        "n1.0.1",
        "n1.1.0",
        "n1.-1.1",
        "n1.1.-1",
        "n1.+1.1",
        "n1.1.+1",
        "n1.01.1",
        "n1.1.01",
        "n1.0x1.1",
        "n1.1f.0x1",
        "n1.1F.1",
        "n1.g.1",
        "n1.1_0.1",
        "n1.1.1_0",
        "n1. 1.1",
        "n1.1.1 ",
        "n1.1.1\n",
        "n1.1.1.5e",
        "n1.1.\N{ARABIC-INDIC DIGIT ONE}",
        "n1.8000000000000000.1",
        "n1.1.9223372036854775808",
        "n1.1." + "9" * 5_000,
        "n1." + "f" * 5_000 + ".1",
        "n1" * 40 + ".1.1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_receipt_id(text)
    assert refused.value.outcome is None, "asking changes nothing"


@given(text=st.text(max_size=30) | st.from_regex(r"[n.0-9a-fx_ ]{1,20}"))
def test_what_is_read_is_written_back_as_it_was(text: str) -> None:
    try:
        found = parse_receipt_id(text)
    except BadRequest:
        return
    assert str(found) == text

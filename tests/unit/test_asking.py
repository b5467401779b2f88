"""On whose behalf: what is taken for a request id and a parent, what a client tells, what another node may tell."""

import pytest

from kvstore.asking import ASKED, Asked, asked, asked_of, traceparent
from kvstore.client.tracing import traced, with_asked
from kvstore.consensus.messages import Call, TracedCall
from kvstore.consensus.wire import FrameDecoder, decode_message, encode_message

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_parent_is_taken_only_in_the_form_of_its_version() -> None:
    assert traceparent(PARENT) == PARENT
    for wrong in (
        None,
        "",
        PARENT.upper(),
        PARENT + "-x",
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        PARENT + "\n",
    ):
        assert traceparent(wrong) == ""


def test_a_client_tells_what_its_caller_says_within_the_with_alone() -> None:
    assert with_asked({"A": "b"}) == {"A": "b"}
    with traced(request_id="order-7", traceparent=PARENT):
        assert with_asked({"A": "b"}) == {"A": "b", "X-Request-Id": "order-7", "traceparent": PARENT}
        with traced(traceparent=PARENT):
            assert with_asked({}) == {"traceparent": PARENT}
        assert with_asked({})["X-Request-Id"] == "order-7"
    assert with_asked({}) == {}
    for wrong in ({"request_id": "has space"}, {"request_id": "x" * 129}, {"traceparent": PARENT[1:]}):
        with pytest.raises(ValueError, match="looks like|has 1 to 128"), traced(**wrong):
            pass


def test_what_a_request_says_is_looked_at_when_it_is_asked_for() -> None:
    assert asked() is None
    before = ASKED.set(("r-1", "not one"))
    try:
        assert asked() == Asked("r-1", "")
        assert Asked("r-1", "").told() == {"request_id": "r-1"}
    finally:
        ASKED.reset(before)


def test_another_node_cannot_put_anything_into_the_log() -> None:
    assert asked_of("r-1", PARENT) == Asked("r-1", PARENT)
    assert asked_of("r-1", "") == Asked("r-1")
    for request_id, parent in (("", ""), ("two words", ""), ("line\nline", ""), ("r-1", "00-junk")):
        assert asked_of(request_id, parent) is None


def test_a_call_that_says_on_whose_behalf_is_a_call_and_arrives_as_it_was() -> None:
    message = TracedCall(7, "write", [b"a", 1], "r-1", PARENT)
    assert isinstance(message, Call)
    decoder = FrameDecoder()
    decoder.feed(encode_message(message))
    payload = decoder.next_payload()
    assert payload is not None
    assert decode_message(payload) == message

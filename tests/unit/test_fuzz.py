"""The fuzzer's own rules: a number decides a conversation, nothing dangerous is said, markers stay whole."""

import random

import pytest

from kvstore.client import WatchEvent
from kvstore.consensus import messages as m
from kvstore.consensus import wire
from kvstore.model.results import Record
from tests.fuzz import requests
from tests.fuzz.campaign import wrong
from tests.fuzz.frames import BAD, CLOSED, ENDS, REFUSED, TRUNCATED, Facts, Talker, dangers, foretold, hello
from tests.fuzz.load import Ledger
from tests.fuzz.mutations import damaged

FACTS = Facts("n1", "c" * 32, {"n1": "a", "n2": "b", "n3": "c"}, 5, "stranger-1", "127.0.0.1:1")
RECORDED = (
    m.Append(7, 3, 9, 6, 8, False, False, [(7, b"x" * 900)], 1, 2),
    m.AppendReply(7, 3, True, 9, 6, 8, 8),
    m.VoteRequest(7, 9, 6, True, False),
    m.VoteReply(7, True, False),
    m.SnapshotChunk(7, 1, 9, 6, 0, 10, b"0123456789"),
    m.TimeoutNow(7),
    m.Call(1, "write", [b"k", b"v"]),
    m.Return(1, [1], None),
)


def talk(count: int) -> list[tuple[str, int, bytes]]:
    talker = Talker(RECORDED, FACTS)
    made = [talker.conversation(random.Random(number)) for number in range(count)]
    return [(each.ends, each.mutated, each.data) for each in made]


def test_the_same_number_is_the_same_conversation_and_all_ends_come() -> None:
    made = talk(400)
    assert made[:50] == talk(50)
    assert {ends for ends, _, _ in made} >= {BAD, TRUNCATED, REFUSED, CLOSED}
    assert all(ends in ENDS for ends, _, _ in made)
    assert sum(count for _, count, _ in made) > 5 * len(made)


def test_nothing_that_a_member_could_do_harm_with_is_said() -> None:
    heard = [message for _, _, data in talk(400) for message in foretold(data, FACTS)[1]]
    assert len(heard) > 1_000
    assert not [message for message in heard if dangers(message, FACTS.floor)]
    assert {type(message) for message in heard} > {m.Append, m.AppendReply, m.Call, m.Return, m.SnapshotChunk}
    assert dangers(RECORDED[0], FACTS.floor)
    assert dangers(RECORDED[6], FACTS.floor)


def test_how_a_conversation_ends_is_foretold() -> None:
    sound = wire.encode_greeting(hello(FACTS, random.Random(1)))
    assert foretold(sound, FACTS) == (CLOSED, [])
    assert foretold(sound[:-1], FACTS)[0] == TRUNCATED
    assert foretold(b"GET / HTTP/1.1\r\n\r\n", FACTS)[0] == BAD
    assert foretold(wire.encode_greeting(hello(FACTS, random.Random(1), cluster_id="d")), FACTS)[0] == REFUSED
    assert foretold(wire.encode_greeting(hello(FACTS, random.Random(1), name="n1", identity="a")), FACTS)[0] == REFUSED
    message = wire.encode_message(RECORDED[0])
    assert foretold(sound + message, FACTS) == (CLOSED, [RECORDED[0]])
    flipped = message[:-1] + bytes((message[-1] ^ 1,))
    assert foretold(sound + message + flipped, FACTS) == (BAD, [RECORDED[0]])


def test_damage_leaves_markers_whole() -> None:
    rng = random.Random(1)
    data = b"PUT /v1/kv/Zfuzz7/1 HTTP/1.1\r\nHost: x\r\n\r\nZfuzz7"
    made = [damaged(rng, data, [b"Zfuzz7", b"/v1/kv/Zfuzz7"]) for _ in range(2_000)]
    assert all(each.count(b"Zfuzz7") >= 2 and b"/v1/kv/Zfuzz7" in each for each in made)
    assert len(set(made)) > 1_900


@pytest.mark.parametrize("make", [requests.http, requests.redis])
def test_requests_and_commands_name_no_key_without_the_marker(make) -> None:
    for number in range(300):
        said = make(random.Random(number), "kvt1.token")
        for word in (b"load/", b"barrier"):
            assert word not in said.data


def test_what_a_node_must_not_say_is_seen() -> None:
    assert requests.judge_http(b"HTTP/1.1 200 OK\r\n\r\n{}HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert requests.judge_http(b"HTTP/1.1 400 Bad Request\r\n\r\n") is None
    assert requests.judge_http(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") is None
    assert requests.judge_http(b"+OK\r\n")
    assert requests.judge_redis(b"+OK\r\n-ERR no\r\n") is None
    assert requests.judge_redis(b"HTTP/1.1 400 Bad Request\r\n")


def put(key: bytes, value: bytes, revision: int) -> WatchEvent:
    return WatchEvent("put", key, revision, Record(value, revision, revision, 1, 0, None), None)  # type: ignore[arg-type]


def test_the_ledger_finds_what_nobody_asked_for_and_what_was_lost() -> None:
    ledger = Ledger()
    ledger.asked |= {b"1", b"2"}
    ledger.wrote(b"1", "quorum")
    ledger.saw(put(b"load/a", b"1", 1))
    assert (ledger.unasked_total, ledger.lost()) == (0, set())
    ledger.saw(put(b"load/a", b"1", 2))  # twice
    ledger.saw(put(b"load/a", b"?", 3))  # never asked for
    ledger.saw(put(b"other", b"1", 4))  # a key that is nobody's now
    ledger.saw(WatchEvent("delete", b"load/a", 5, None, None))
    assert ledger.unasked_total == 4
    ledger.allowed = lambda key: key == b"other"
    ledger.saw(put(b"other", b"1", 6))
    assert ledger.unasked_total == 4
    ledger.wrote(b"2", "all")
    assert ledger.lost() == {b"2"}


def test_a_run_is_a_success_only_if_all_is_well() -> None:
    arm = {"odd_total": 0, "odd": [], "ends": {"bad": 3}}
    load = {"changes_unasked_for": 0, "acknowledged_and_lost": 0, "writes_acknowledged": 9, "longest_gap_s": 0.1}
    sound = {
        "problem": None,
        "arms": {"peer": arm},
        "api": {"failures": ""},
        "load": load,
        "memory": {"n1": {"rss_mib_most": 90.0}},
        "unexpected_in_logs": {},
        "counters_risen_by": {"peer": {"kv_peer_bad_frames_total": 3}},
    }
    assert wrong(sound) == []
    for bad in (
        {"problem": "n1 has ended"},
        {"arms": {"peer": {**arm, "odd_total": 1}}},
        {"api": {"failures": "500"}},
        {"load": {**load, "changes_unasked_for": 1, "examples": []}},
        {"load": {**load, "acknowledged_and_lost": 1}},
        {"load": {**load, "writes_acknowledged": 0}},
        {"load": {**load, "longest_gap_s": 60.0}},
        {"memory": {"n1": {"rss_mib_most": 5_000.0}}},
        {"unexpected_in_logs": {"n1": ["1 lines"]}},
        {"counters_risen_by": {"peer": {}}},
    ):
        assert len(wrong(sound | bad)) == 1, bad

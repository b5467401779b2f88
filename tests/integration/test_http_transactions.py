"""Transactions over the HTTP door: both lists, both forms, and what is no transaction."""

import msgspec
import pytest

from tests.integration.house import House

TXN = b"""{
  "compare": [{"key": "a", "target": "value", "to": "old"}, {"key": "b", "target": "exists", "to": false}],
  "then": [{"op": "get", "key": "a"}, {"op": "put", "key": "a", "value": "new"},
           {"op": "txn", "compare": [{"key": "c", "target": "version", "relation": ">", "to": 0}],
            "then": [{"op": "delete", "key": "c"}], "else": [{"op": "put", "key": "c", "value_base64": "/w=="}]}],
  "else": [{"op": "range", "prefix": "", "limit": 1}, {"op": "delete_range", "start": "x", "end": "y"}]
}"""


async def test_a_transaction_takes_one_list_or_the_other(house: House) -> None:
    await house.ask("PUT", "/v1/kv/a", body=b"old")
    first = (await house.ask("POST", "/v1/txn", body=TXN)).json
    assert (first["succeeded"], first["revision"], first["outcome"]) == (True, 2, "committed")
    got, put, inner = first["results"]
    assert (put, got["record"]["value_base64"]) == ({"op": "put", "version": 2}, "b2xk")
    assert inner == {"op": "txn", "succeeded": False, "results": [{"op": "put", "version": 1}]}
    second = (await house.ask("POST", "/v1/txn", body=TXN)).json
    assert (second["succeeded"], second["revision"]) == (False, 2)
    ranged, deleted = second["results"]
    assert (ranged["count"], ranged["more"], [each["key"] for each in ranged["records"]]) == (2, True, ["a"])
    assert deleted == {"op": "delete_range", "deleted": 0}
    assert house.store.records[b"c"].value == b"\xff"


async def test_a_transaction_in_msgpack_is_the_same(house: House) -> None:
    body = msgspec.msgpack.encode(
        {"then": [{"op": "put", "key": b"\xff", "value": b"\x00"}, {"op": "get", "key": "k"}]}
    )
    reply = await house.ask("POST", "/v1/txn", "Content-Type: application/msgpack", body=body)
    assert reply.json["results"] == [{"op": "put", "version": 1}, {"op": "get", "record": None}]
    assert house.store.records[b"\xff"].value == b"\x00"


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"then": [{"op": "put", "key": "a"}]}',
        b'{"then": [{"op": "put", "key": "", "value": "v"}]}',
        b'{"then": [{"op": "put", "key": "a", "value": "v", "value_base64": "dg=="}]}',
        b'{"then": [{"op": "put", "key": "a", "value": 7}]}',
        b'{"then": [{"op": "put", "key": "a", "value": "v", "lease": -1}]}',
        b'{"then": [{"op": "put", "key": "a", "value": "v", "lease": 1, "keep_lease": true}]}',
        b'{"then": [{"op": "put", "key_base64": "!", "value": "v"}]}',
        b'{"then": [{"op": "increment", "key": "a"}]}',
        b'{"then": [{"op": "get", "key": "a", "level": "one"}]}',
        b'{"then": [{"op": "put", "key": "a", "value": "v"}, {"op": "delete_range", "prefix": ""}]}',
        b'{"then": [{"op": "put", "key": "a", "value": "v"}, {"op": "get", "key": "a"}]}',
        b'{"then": [{"op": "range"}]}',
        b'{"then": [{"op": "range", "prefix": "", "limit": -1}]}',
        b'{"then": [{"op": "txn", "then": [{"op": "txn"}]}]}',
        b'{"compare": [{"key": "a", "to": "text"}]}',
        b'{"compare": [{"key": "a", "target": "value", "to": 7}]}',
        b'{"compare": [{"key": "a", "target": "exists", "to": 1}]}',
        b'{"compare": [{"key": "a", "target": "exists", "relation": "<"}]}',
        b'{"compare": [{"key": "a", "target": "age", "to": 1}]}',
        b'{"compare": [{"key": "a", "to": -1}]}',
        b'{"then": [' + b",".join(b'{"op": "get", "key": "%d"}' % number for number in range(129)) + b"]}",
    ],
)
async def test_a_transaction_that_cannot_be_one_is_refused_whole(house: House, body: bytes) -> None:
    reply = await house.ask("POST", "/v1/txn", body=body)
    assert (reply.status, reply.json["code"], reply.json["outcome"]) == (400, "bad_request", "not_applied")
    assert house.store.calls == []

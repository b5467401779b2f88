"""The HTTP door over a real socket: what each call takes and answers. A server on loopback, a store in memory."""

import re

import msgspec
import pytest

from kvstore import limits
from kvstore.errors import DeadlineExceeded, Divergence, MembersUnreachable, NoQuorum, Overloaded
from kvstore.model.levels import Level
from tests.integration.house import House, golden


async def test_the_shapes_of_the_answers(house: House) -> None:
    wire = await house.wire()
    rid = "X-Request-Id: golden-1"
    golden("put", await wire.ask("PUT", "/v1/kv/caf%C3%A9?level=all", rid, body=b"au lait"))
    golden("put_key_base64", await wire.ask("PUT", "/v1/kv/%ff%00", rid, body=b"\xfe"))
    golden("record", await wire.ask("GET", "/v1/kv/caf%C3%A9", rid, "Accept: application/json"))
    golden("record_key_base64", await wire.ask("GET", "/v1/kv/%ff%00", rid, "Accept: application/json"))
    golden("range", await wire.ask("GET", "/v1/kv?limit=1", rid))
    golden("range_keys_only", await wire.ask("GET", "/v1/kv?keys_only=true", rid))
    golden("range_count_only", await wire.ask("GET", "/v1/kv?count_only=true", rid))
    golden("delete", await wire.ask("DELETE", "/v1/kv/caf%C3%A9", rid))
    golden("cluster", await wire.ask("GET", "/v1/cluster", rid))
    golden("problem_read_absent", await wire.ask("GET", "/v1/kv/caf%C3%A9", rid))
    golden("problem_delete_absent", await wire.ask("DELETE", "/v1/kv/caf%C3%A9", rid))
    golden("problem_bad_level", await wire.ask("PUT", "/v1/kv/a?level=QUORUM", rid, body=b"v"))
    golden("put_one", await wire.ask("PUT", "/v1/kv/new?level=one", rid, body=b"soon"))
    golden("delete_one", await wire.ask("DELETE", "/v1/kv/gone?level=one", rid))
    golden("record_pending", await wire.ask("GET", "/v1/kv/new?level=one", rid, "Accept: application/json"))
    golden("receipt_pending", await wire.ask("GET", "/v1/receipts/n1.e1.1", rid))
    house.store.hand_over()
    golden("receipt_committed", await wire.ask("GET", "/v1/receipts/n1.e1.1", rid))
    golden("receipt_unknown", await wire.ask("GET", "/v1/receipts/n1.e1.9", rid))
    golden("session_opened", await wire.ask("POST", "/v1/sessions", rid))
    golden("session_closed", await wire.ask("DELETE", "/v1/sessions/1", rid))
    golden("problem_expired", await wire.ask("PUT", "/v1/kv/a", rid, "KV-Session: 1/1/1", body=b"v"))
    await wire.ask("PUT", "/v1/kv/b", "Idempotency-Key: k1", body=b"v")
    golden("problem_conflict", await wire.ask("PUT", "/v1/kv/b", rid, "Idempotency-Key: k1", body=b"w"))
    house.store.fail = Divergence("n1 and n2 hold different content of this key", level="all", read=True)
    golden("problem_divergence", await wire.ask("GET", "/v1/kv/a?level=all", rid))
    house.store.fail = NoQuorum("1 of 3 voters can be reached", leader=None, retry_after_s=0.2)
    golden("problem_no_quorum", await wire.ask("PUT", "/v1/kv/a", rid, body=b"v"))
    house.store.fail = DeadlineExceeded(
        "n3 has not confirmed", outcome="committed", level="all", required=3, acked=2, missing=("n3",), leader="n1"
    )
    golden("problem_level_not_met", await wire.ask("PUT", "/v1/kv/a?level=all", rid, body=b"v"))


async def test_a_value_comes_back_as_it_was_put_with_all_headers(house: House) -> None:
    wire = await house.wire()
    value = bytes(range(256))
    assert (await wire.ask("PUT", "/v1/kv/a", body=b"first")).status == 200
    put = await wire.ask("PUT", "/v1/kv/a", body=value)
    assert put.headers["ETag"] == '"2"'
    got = await wire.ask("GET", "/v1/kv/a")
    assert (got.status, got.body) == (200, value)
    expected = {
        "Content-Type": "application/octet-stream",
        "ETag": '"2"',
        "KV-Revision": "2",
        "KV-Version": "2",
        "KV-Applied-Index": "3",
        "KV-Leader": "n1",
        "KV-Stamp": "1700000000000.2.n1.0",
    }
    assert {name: got.headers[name] for name in expected} == expected
    head = await wire.ask("HEAD", "/v1/kv/a")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "256")
    assert {name: head.headers[name] for name in expected} == expected
    assert (await wire.ask("GET", "/v1/kv/a")).body == value


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"a//b", b"a//b"),
        (b"../../etc/passwd", b"../../etc/passwd"),
        (b"a%2Fb", b"a/b"),
        (b"%252F", b"%2F"),
        (b"%00%ff", b"\x00\xff"),
        (b"a+b", b"a+b"),
        (b"caf%C3%A9", "café".encode()),
        (b"%fe%ff", b"\xfe\xff"),
        (b"/", b"/"),
        (b"http://x", b"http://x"),
    ],
)
async def test_keys_survive_the_wire(house: House, raw: bytes, key: bytes) -> None:
    assert (await house.ask("PUT", b"/v1/kv/" + raw, body=b"v")).status == 200
    assert list(house.store.records) == [key]
    assert (await house.ask("GET", b"http://anything:1/v1/kv/" + raw)).body == b"v"


@pytest.mark.parametrize(
    ("method", "target", "lines", "status", "code"),
    [
        ("PUT", "/v1/kv/", (), 400, "bad_request"),
        ("GET", "/v1/kv/", (), 400, "bad_request"),
        ("PUT", "/v1/kv/%zz", (), 400, "bad_request"),
        ("PUT", "/v1/kv/a%4", (), 400, "bad_request"),
        ("PUT", "/v1/kv/" + "k" * 4_097, (), 414, "too_large"),
        ("PUT", "/v1/kv/" + "%6b" * 4_097, (), 414, "too_large"),
        ("PUT", "/v1/kv/" + "k" * 20_000, (), 414, "too_large"),
        ("PUT", "/v1/kv/a?level=strong", (), 400, "bad_request"),
        ("PUT", "/v1/kv/a?levle=all", (), 400, "bad_request"),
        ("GET", "/v1/kv?level=all", (), 400, "bad_request"),
        ("GET", "/v1/kv/a?max_staleness_ms=5", (), 400, "bad_request"),
        ("GET", "/v1/kv/a?level=all&max_staleness_ms=5", (), 400, "bad_request"),
        ("GET", "/v1/kv/a?level=one&max_staleness_ms=-1", (), 400, "bad_request"),
        ("GET", "/v1/kv?min_revision=5", (), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("If-Match: 42",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ('If-None-Match: "1"',), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("Idempotency-Key: ",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("Idempotency-Key: " + "k" * 257,), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("Idempotency-Key: a", "Idempotency-Key: b"), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("Idempotency-Key: a", "KV-Session: 1/1/1"), 400, "bad_request"),
        ("DELETE", "/v1/kv/a", ("Idempotency-Key: ",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("KV-Session: 1/1",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("KV-Session: 0/1/1",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("KV-Session: 1/0/0",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("KV-Session: 1/2/3",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("KV-Session: 1/9999999999999999999/1",), 400, "bad_request"),
        ("DELETE", "/v1/kv/a", ("KV-Session: one",), 400, "bad_request"),
        ("PUT", "/v1/kv/a", ("KV-Stamp: soon",), 400, "bad_request"),
        ("GET", "/v1/kv/a", ("KV-Stamp: 1.2.n1",), 400, "bad_request"),
        ("GET", "/v1/kv", ("KV-Stamp: 1.2.N 1.3",), 400, "bad_request"),
        ("GET", "/v1/receipts/", (), 400, "bad_request"),
        ("GET", "/v1/receipts/n1.e1.1?level=one", (), 400, "bad_request"),
        ("POST", "/v1/sessions?level=all", (), 400, "bad_request"),
        ("DELETE", "/v1/sessions/zero", (), 400, "bad_request"),
        ("DELETE", "/v1/sessions/0", (), 400, "bad_request"),
        ("GET", "/v1/sessions", (), 405, "method_not_allowed"),
        ("PUT", "/v1/receipts/n1.e1.1", (), 405, "method_not_allowed"),
        ("GET", "/v1/kv?limit=0", (), 400, "bad_request"),
        ("GET", "/livez?x=1", (), 400, "bad_request"),
        ("GET", "/v1/kv?count_only=true", ("Accept: application/x-ndjson",), 400, "bad_request"),
        ("GET", "/nowhere", (), 404, "route_not_found"),
        ("GET", "/v1/%6bv/a", (), 404, "route_not_found"),
        ("GET", "//v1/kv/a", (), 404, "route_not_found"),
        ("OPTIONS", "*", (), 404, "route_not_found"),
        ("POST", "/v1/kv/a", (), 405, "method_not_allowed"),
        ("DELETE", "/v1/kv", (), 400, "bad_request"),
        ("DELETE", "/v1/kv?prefix=a&level=one", (), 400, "bad_request"),
        ("PUT", "/v1/kv", (), 405, "method_not_allowed"),
        ("PUT", "/v1/kv/a?lease=7&level=one", (), 400, "bad_request"),
        ("GET", "/v1/kv/a?revision=x", (), 400, "bad_request"),
        ("POST", "/v1/leases", (), 400, "bad_request"),
        ("GET", "/v1/leases/seven", (), 400, "bad_request"),
        ("POST", "/v1/compact", (), 400, "bad_request"),
        ("GET", "/v1/watch", (), 400, "bad_request"),
        ("GET", "/v1/watch?key=a", ("Last-Event-ID: now",), 400, "bad_request"),
        ("POST", "/v1/txn?level=one", (), 400, "bad_request"),
        ("GET", "/livez", tuple(f"H{i}: x" for i in range(100)), 400, "bad_request"),
        ("GET", "/livez", ("H: " + "x" * 20_000,), 400, "bad_request"),
    ],
)
async def test_a_bad_request_gets_its_problem_and_the_server_goes_on(
    house: House, method: str, target: str, lines: tuple[str, ...], status: int, code: str
) -> None:
    reply = await house.ask(method, target, *lines, body=b"v" if method == "PUT" else None)
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/problem+json")
    problem = reply.json
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["request_id"] == reply.headers["X-Request-Id"]
    assert problem["outcome"] in (None, "not_applied")
    assert house.store.calls == []
    assert (await house.ask("GET", "/livez")).status == 200


async def test_a_refused_method_names_the_allowed_ones(house: House) -> None:
    reply = await house.ask("POST", "/v1/kv/a")
    assert reply.headers["Allow"] == "DELETE, GET, HEAD, PUT"


async def test_conditions_reach_the_store(house: House) -> None:
    wire = await house.wire()
    assert (await wire.ask("PUT", "/v1/kv/a", "If-Match: *", body=b"1")).status == 412
    assert (await wire.ask("PUT", "/v1/kv/a", "If-None-Match: *", body=b"1")).status == 200
    assert (await wire.ask("PUT", "/v1/kv/a", "If-None-Match: *", body=b"2")).status == 412
    assert (await wire.ask("PUT", "/v1/kv/a", 'If-Match: "1"', body=b"2")).status == 200
    failed = await wire.ask("DELETE", "/v1/kv/a", 'If-Match: "1"')
    assert (failed.status, failed.json["code"], failed.json["outcome"]) == (412, "precondition_failed", "not_applied")
    assert (await wire.ask("DELETE", "/v1/kv/a", 'If-Match: "2"')).status == 200


async def test_level_deadline_and_min_revision_reach_the_store(house: House) -> None:
    wire = await house.wire()
    await wire.ask("PUT", "/v1/kv/a?level=all&timeout_ms=1500", body=b"1")
    await wire.ask("GET", "/v1/kv/a?level=one&min_revision=1")
    assert house.store.calls == [
        ("put", b"a", Level.ALL, None, None, 1.5),
        ("get", b"a", Level.ONE, 1, None, limits.TIMEOUT_MS_DEFAULT / 1_000),
    ]
    house.store.calls.clear()
    assert (await wire.ask("GET", "/v1/kv/a?level=one&max_staleness_ms=250")).body == b"1"
    assert (await wire.ask("GET", "/v1/kv/a?level=all")).body == b"1"
    assert [call[1:5] for call in house.store.calls] == [
        (b"a", Level.ONE, None, 0.25),
        (b"a", Level.ALL, None, None),
    ]


async def test_a_write_at_level_one_is_taken_and_has_a_receipt(house: House) -> None:
    wire = await house.wire()
    put = await wire.ask("PUT", "/v1/kv/a?level=one", body=b"v")
    assert (put.status, put.json["outcome"], put.json["revision"], put.json["version"]) == (202, "pending", None, None)
    assert put.headers["Location"] == f"/v1/receipts/{put.json['receipt']}"
    assert {"ETag", "KV-Revision", "KV-Version"}.isdisjoint(put.headers)
    assert put.headers["KV-Stamp"] == "1700000000000.1.n1.0"
    receipt = await wire.ask("GET", put.headers["Location"])
    assert (receipt.status, receipt.json["state"]) == (200, "pending")
    assert receipt.headers["KV-Stamp"] == "1700000000000.1.n1.0"
    house.store.hand_over()
    committed = (await wire.ask("GET", put.headers["Location"])).json
    assert (committed["state"], committed["revision"], committed["reason"]) == ("committed", 1, None)
    assert (await wire.ask("GET", "/v1/kv/a")).headers["ETag"] == '"1"'


async def test_what_is_only_pending_has_nothing_to_condition_on(house: House) -> None:
    wire = await house.wire()
    await wire.ask("PUT", "/v1/kv/a?level=one", body=b"soon")
    got = await wire.ask("GET", "/v1/kv/a?level=one")
    assert (got.status, got.body) == (200, b"soon")
    assert {"ETag", "KV-Version"}.isdisjoint(got.headers)
    assert got.headers["KV-Revision"] == "0"
    assert (await wire.ask("GET", "/v1/kv/a")).status == 404
    assert (await wire.ask("DELETE", "/v1/kv/a?level=one")).status == 202
    assert (await wire.ask("GET", "/v1/kv/a?level=one")).status == 404


async def test_level_one_deletes_what_is_absent_too_and_takes_no_condition_or_session(house: House) -> None:
    wire = await house.wire()
    assert (await wire.ask("DELETE", "/v1/kv/none?level=one")).status == 202
    for line in ('If-Match: "1"', "If-None-Match: *", "KV-Session: 1/1/1"):
        refused = await wire.ask("PUT", "/v1/kv/a?level=one", line, body=b"v")
        assert (refused.status, refused.json["outcome"]) == (400, "not_applied")
    assert len(house.store.pending) == 1


async def test_a_superseded_write_says_so(house: House) -> None:
    wire = await house.wire()
    receipt = (await wire.ask("PUT", "/v1/kv/a?level=one", body=b"late")).json["receipt"]
    await wire.ask("PUT", "/v1/kv/a", body=b"newer")
    house.store.hand_over()
    assert (await wire.ask("GET", f"/v1/receipts/{receipt}")).json["state"] == "superseded"
    assert (await wire.ask("GET", "/v1/kv/a")).body == b"newer"


async def test_an_idempotency_key_gives_the_first_answer_again(house: House) -> None:
    wire = await house.wire()
    key = "Idempotency-Key: 2b0c-\u00fc"
    first = await wire.ask("PUT", "/v1/kv/a", key, "If-None-Match: *", body=b"v")
    again = await wire.ask("PUT", "/v1/kv/a", key, "If-None-Match: *", body=b"v")
    assert (first.status, again.status, again.json, again.headers["ETag"]) == (200, 200, first.json, '"1"')
    assert house.store.calls[0][4] == "2b0c-\u00fc".encode()
    other = await wire.ask("PUT", "/v1/kv/a", key, body=b"w")
    assert (other.status, other.json["code"], other.json["outcome"]) == (409, "idempotency_conflict", "not_applied")
    removed = [await wire.ask("DELETE", "/v1/kv/a", "Idempotency-Key: d") for _ in range(2)]
    assert [(reply.status, reply.json["revision"]) for reply in removed] == [(200, 2), (200, 2)]
    assert house.store.revision == 2


async def test_an_idempotency_key_goes_with_level_one(house: House) -> None:
    wire = await house.wire()
    replies = [await wire.ask("PUT", "/v1/kv/a?level=one", "Idempotency-Key: k", body=b"v") for _ in range(2)]
    assert replies[0].json == replies[1].json
    assert len(house.store.pending) == 1


async def test_a_sequence_of_a_session_gives_the_first_answer_again(house: House) -> None:
    wire = await house.wire()
    opened = await wire.ask("POST", "/v1/sessions?timeout_ms=700")
    assert (opened.status, house.store.calls) == (201, [("open_session", 0.7)])
    session = opened.json["session"]
    line = f"KV-Session: {session}/1/1"
    first = await wire.ask("PUT", "/v1/kv/a", line, "If-None-Match: *", body=b"v")
    again = await wire.ask("PUT", "/v1/kv/a", line, "If-None-Match: *", body=b"v")
    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert (await wire.ask("PUT", "/v1/kv/a", line, body=b"w")).json["code"] == "idempotency_conflict"
    assert (await wire.ask("PUT", "/v1/kv/a", f"KV-Session: {session}/3/3", body=b"w")).status == 200
    forgotten = await wire.ask("PUT", "/v1/kv/a", line, "If-None-Match: *", body=b"v")
    assert (forgotten.status, forgotten.json["code"], forgotten.json["outcome"], forgotten.json["retry_safe"]) == (
        409,
        "idempotency_expired",
        "unknown",
        False,
    )
    assert (await wire.ask("DELETE", f"/v1/sessions/{session}")).status == 200
    assert (await wire.ask("PUT", "/v1/kv/a", f"KV-Session: {session}/4/4", body=b"x")).json["outcome"] == "unknown"
    assert house.store.records[b"a"].value == b"w"


async def test_a_stamp_that_a_client_tells_is_heard_by_every_call_on_keys(house: House) -> None:
    wire = await house.wire()
    for counter, method, target in (
        (10, "GET", "/v1/kv/a"),
        (20, "GET", "/v1/kv"),
        (30, "PUT", "/v1/kv/a"),
        (40, "PUT", "/v1/kv/a?level=one"),
        (50, "DELETE", "/v1/kv/a"),
    ):
        body = b"v" if method == "PUT" else None
        reply = await wire.ask(method, target, f"KV-Stamp: 1700000000000.{counter}.n2.7", body=body)
        assert int(reply.headers["KV-Stamp"].split(".")[1]) >= counter
    assert (await wire.ask("GET", "/v1/kv/a", "KV-Stamp: 0.0..0")).headers["KV-Stamp"].startswith("1700000000000.")


async def test_msgpack_has_the_shapes_of_json(house: House) -> None:
    wire = await house.wire()
    for method, target in (("PUT", "/v1/kv/%ff"), ("GET", "/v1/kv/%ff"), ("GET", "/v1/kv"), ("GET", "/v1/cluster")):
        body = b"v" if method == "PUT" else None
        packed = await wire.ask(method, target, "Accept: application/msgpack", body=body)
        assert packed.headers["Content-Type"] == "application/msgpack"
        plain = await wire.ask(method, target, "Accept: application/json", body=body)
        expected = plain.json
        if method == "PUT":
            expected |= {"revision": 1, "version": 1}
        else:
            assert list(msgspec.msgpack.decode(packed.body)) == list(expected)
        assert msgspec.msgpack.decode(packed.body) == expected


async def test_errors_of_the_store_become_problems(house: House) -> None:
    wire = await house.wire()
    house.store.fail = Overloaded("too many writes wait", retry_after_s=0.3)
    reply = await wire.ask("PUT", "/v1/kv/a", body=b"v")
    assert (reply.status, reply.headers["Retry-After"], reply.json["outcome"]) == (429, "1", "not_applied")
    assert reply.headers["KV-Stamp"] == "1700000000000.0.n1.0"
    house.store.fail = MembersUnreachable("n3 is down", missing=("n3",), level="all", retry_after_s=2.0)
    reply = await wire.ask("PUT", "/v1/kv/a?level=all", body=b"v")
    assert (reply.status, reply.headers["Retry-After"], reply.json["missing"]) == (503, "2", ["n3"])
    house.store.fail = DeadlineExceeded("too late")
    reply = await wire.ask("PUT", "/v1/kv/a", body=b"v")
    assert (reply.status, reply.json["outcome"], reply.json["retry_safe"]) == (504, "unknown", False)
    reply = await wire.ask("GET", "/v1/kv/a")
    assert (reply.status, reply.json["outcome"], reply.json["retry_safe"]) == (504, None, True)
    reply = await wire.ask("DELETE", "/v1/kv/a")
    assert (reply.status, reply.json["outcome"]) == (504, "unknown")


async def test_a_fault_of_the_server_tells_its_request_id_and_no_secrets(house: House) -> None:
    wire = await house.wire()
    house.store.fail = RuntimeError("password is hunter2")
    for method, outcome in (("PUT", "unknown"), ("DELETE", "unknown"), ("GET", None)):
        reply = await wire.ask(method, "/v1/kv/a", body=b"v" if method == "PUT" else None)
        assert (reply.status, reply.json["code"], reply.json["outcome"]) == (500, "internal", outcome)
        assert reply.json["request_id"]
        assert b"hunter2" not in reply.body
        assert b"Traceback" not in reply.body
    house.store.fail = None
    assert (await wire.ask("PUT", "/v1/kv/a", body=b"v")).status == 200


async def test_request_ids_are_echoed_or_made(house: House) -> None:
    wire = await house.wire()
    assert (await wire.ask("GET", "/livez", "X-Request-Id: mine:1/2")).headers["X-Request-Id"] == "mine:1/2"
    made = [
        (await wire.ask("GET", "/livez", *lines)).headers["X-Request-Id"]
        for lines in ((), (), ("X-Request-Id: has space",), ("X-Request-Id: " + "x" * 129,))
    ]
    assert len(set(made)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", text) for text in made)


async def test_health_and_readiness(house: House) -> None:
    wire = await house.wire()
    assert (await wire.ask("GET", "/livez")).body == b"ok\n"
    assert (await wire.ask("GET", "/readyz")).status == 200
    house.store.not_ready = "no leader is known yet"
    reply = await wire.ask("GET", "/readyz")
    assert (reply.status, reply.json["detail"]) == (503, "no leader is known yet")
    assert (await wire.ask("HEAD", "/readyz")).body == b""
    assert (await wire.ask("GET", "/livez")).status == 200


async def test_metrics_count_by_route_not_by_key(house: House) -> None:
    wire = await house.wire()
    await wire.ask("PUT", "/v1/kv/secret-name?level=all", body=b"v")
    await wire.ask("GET", "/v1/kv/other")
    await wire.ask("GET", "/made/up")
    reply = await wire.ask("GET", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    text = reply.body.decode()
    for line in (
        'kv_http_requests_total{method="PUT",route="/v1/kv/{key}",status="200"} 1.0',
        'kv_http_requests_total{method="GET",route="/v1/kv/{key}",status="404"} 1.0',
        'kv_http_requests_total{method="GET",route="other",status="404"} 1.0',
        'kv_http_request_seconds_count{level="all",method="PUT",route="/v1/kv/{key}"} 1.0',
        "kv_http_connections 1.0",
    ):
        assert line in text
    assert "secret-name" not in text
    assert "made" not in text


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/v1/kv/a?lease=7"),
        ("POST", "/v1/leases/7/keepalive"),
        ("GET", "/v1/leases/7"),
        ("DELETE", "/v1/leases/7"),
    ],
)
async def test_a_lease_that_is_not_there_is_said_to_be_missing(house: House, method: str, target: str) -> None:
    reply = await house.ask(method, target, body=b"v" if method == "PUT" else None)
    assert (reply.status, reply.json["code"]) == (404, "lease_not_found")


async def test_a_lease_through_its_life(house: House) -> None:
    granted = (await house.ask("POST", "/v1/leases", body=b'{"ttl_seconds": 30}')).json
    assert granted == {"id": 1, "ttl_seconds": 30.0}
    assert (await house.ask("PUT", "/v1/kv/a?lease=1", body=b"v")).status == 200
    told = (await house.ask("GET", "/v1/leases/1")).json
    assert (told["id"], told["ttl_seconds"], told["keys"]) == (1, 30.0, [{"key": "a"}])
    assert (await house.ask("GET", "/v1/leases")).json == {"leases": [1]}
    kept = await house.ask("POST", "/v1/leases/keepalive", body=b'{"ids": [1, 9]}')
    assert kept.json == {"leases": [{"id": 1, "ttl_seconds": 30.0}], "gone": [9]}
    assert (await house.ask("POST", "/v1/leases/1/keepalive")).json == {"id": 1, "ttl_seconds": 30.0}
    assert (await house.ask("DELETE", "/v1/leases/1")).json == {"id": 1, "deleted": 1}
    assert (await house.ask("GET", "/v1/kv/a")).status == 404


async def test_a_range_is_counted_first_and_deleted_then(house: House) -> None:
    for key in ("a/1", "a/2", "b"):
        await house.ask("PUT", f"/v1/kv/{key}", body=b"v")
    counted = (await house.ask("DELETE", "/v1/kv?prefix=a/&dry_run=true")).json
    assert counted == {"deleted": 2, "revision": 3, "dry_run": True}
    assert (await house.ask("DELETE", "/v1/kv?prefix=a/")).json == {"deleted": 2, "revision": 4, "dry_run": False}
    assert list(house.store.records) == [b"b"]


async def test_the_past_is_read_as_it_was_and_not_beyond_what_is_kept(house: House) -> None:
    for value in (b"1", b"2", b"3"):
        await house.ask("PUT", "/v1/kv/k", body=value)
    assert [(await house.ask("GET", f"/v1/kv/k?revision={at}")).body for at in (1, 2, 3)] == [b"1", b"2", b"3"]
    assert (await house.ask("GET", "/v1/kv/k?revision=0")).status == 404
    assert (await house.ask("POST", "/v1/compact", body=b'{"revision": 2}')).json == {"revision": 2}
    gone = await house.ask("POST", "/v1/compact", body=b'{"revision": 2}')
    assert (gone.status, gone.json["code"]) == (410, "compacted")

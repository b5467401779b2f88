"""Batches: over the HTTP door as raw requests, and from the client library."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from kvstore import limits
from kvstore.client import AsyncClient, Delete, Get, Put
from kvstore.client.results import WriteResult
from kvstore.errors import (
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    IdempotencyConflict,
    KeyTooLong,
    KvError,
    NoQuorum,
    NotFound,
    PreconditionFailed,
    TooLarge,
)
from kvstore.http.app import HttpServer
from kvstore.model.results import Record
from kvstore.telemetry.metrics import Metrics
from tests.integration.house import House, golden
from tests.integration.memory_store import MemoryStore
from tests.integration.test_client import cutting, misbehaving, read_request

JSON, MSGPACK = "application/json", "application/msgpack"


async def ask(house: House, ops: list[dict[str, Any]], target: str = "/v1/batch", **members: Any) -> Any:
    """The results of a batch in JSON."""
    reply = await house.ask("POST", target, body=json.dumps({"ops": ops, **members}).encode())
    assert reply.status == 200, reply.json
    return reply.json["results"]


class TestDoor:
    async def test_every_operation_has_the_answer_that_it_has_alone(self, house: House) -> None:
        ops = [
            {"op": "put", "key": "a", "value": "1", "if_absent": True},
            {"op": "put", "key": "a", "value": "2", "if_absent": True},
            {"op": "put", "key": "b", "value_base64": "/w==", "if_exists": True},
            {"op": "put", "key_base64": "/w==", "value": "3", "level": "one"},
            {"op": "get", "key": "a"},
            {"op": "get", "key": "absent", "level": "one"},
            {"op": "delete", "key": "a", "if_revision": 1},
            {"op": "delete", "key": "absent"},
        ]
        body = json.dumps({"ops": ops}).encode()
        reply = await house.ask("POST", "/v1/batch", "X-Request-Id: r1", body=body)
        golden("batch", reply)
        other = House()
        await other.server.start()
        alone = [
            await other.ask("PUT", "/v1/kv/a", "If-None-Match: *", body=b"1"),
            await other.ask("PUT", "/v1/kv/a", "If-None-Match: *", body=b"2"),
            await other.ask("PUT", "/v1/kv/b", "If-Match: *", body=b"\xff"),
            await other.ask("PUT", "/v1/kv/%ff?level=one", body=b"3"),
            await other.ask("GET", "/v1/kv/a", "Accept: application/json"),
            await other.ask("GET", "/v1/kv/absent?level=one", "Accept: application/json"),
            await other.ask("DELETE", "/v1/kv/a", 'If-Match: "1"'),
            await other.ask("DELETE", "/v1/kv/absent"),
        ]
        expected = [each.json | ({"request_id": None} if "request_id" in each.json else {}) for each in alone]
        assert reply.json["results"] == expected
        for wire in other.wires:
            wire.writer.close()
        await other.server.close()

    async def test_msgpack_in_and_out(self, house: House) -> None:
        body = msgspec.msgpack.encode(
            {"ops": [{"op": "put", "key": b"\xff", "value": b"\x00"}, {"op": "get", "key_base64": "/w=="}]}
        )
        reply = await house.ask("POST", "/v1/batch", f"Content-Type: {MSGPACK}", f"Accept: {MSGPACK}", body=body)
        written, read = msgspec.msgpack.decode(reply.body)["results"]
        assert (reply.status, reply.headers["Content-Type"]) == (200, MSGPACK)
        assert (written["key_base64"], written["revision"]) == ("/w==", 1)
        assert (read["value_base64"], read["mod_revision"]) == ("AA==", 1)

    async def test_the_level_of_the_query_is_that_of_operations_without_one(self, house: House) -> None:
        ops = [{"op": "put", "key": "a", "value": ""}, {"op": "put", "key": "b", "value": "", "level": "all"}]
        told = await ask(house, ops, "/v1/batch?level=one&timeout_ms=900")
        assert [(each["level"], each["outcome"]) for each in told] == [("one", "pending"), ("all", "committed")]
        assert house.store.calls[0][:2] == ("batch", 2)
        assert house.store.calls[0][2] == pytest.approx(0.9, abs=0.2)

    async def test_writes_of_a_session_and_under_keys_are_carried_out_once(self, house: House) -> None:
        session = (await house.ask("POST", "/v1/sessions")).json["session"]
        ops = [
            {"op": "put", "key": "s", "value": "1", "sequence": 1},
            {"op": "put", "key": "s", "value": "2", "sequence": 2},
            {"op": "put", "key": "k", "value": "1", "idempotency_key": "mine"},
        ]
        first = await ask(house, ops, session=session, floor=1)
        assert await ask(house, ops, session=session, floor=1) == first
        assert house.store.revision == 3
        ops[2]["value"] = "other"
        ops[1]["sequence"] = 3
        told = await ask(house, ops, session=session, floor=3)
        # The first sequence is below the floor; such a floor is refused as what it is, a mistake.
        assert [each.get("code") for each in told] == ["bad_request", None, "idempotency_conflict"]
        late = await ask(house, [{"op": "put", "key": "s", "value": "2", "sequence": 2}], session=session, floor=2)
        assert (late[0]["code"], late[0]["outcome"]) == ("idempotency_expired", "unknown")

    async def test_what_is_wrong_with_one_operation_is_its_own_problem(self, house: House) -> None:
        ops = [
            {"op": "put", "key": "", "value": "x"},
            {"op": "get", "key": ""},
            {"op": "put", "key": "k" * 4_097, "value": "x"},
            {"op": "put", "key": "k", "value": "v" * (limits.VALUE_BYTES_MAX + 1)},
            {"op": "put", "key": "k"},
            {"op": "put", "key": "k", "value": "x", "value_base64": "eA=="},
            {"op": "put", "key": "k", "value": "x", "if_absent": True, "if_revision": 1},
            {"op": "put", "key": "k", "value": "x", "level": "one", "if_absent": True},
            {"op": "put", "key": "k", "value": "x", "sequence": 1},
            {"op": "put", "key": "k", "value": "x", "idempotency_key": ""},
            {"op": "put", "key": "good", "value": "x"},
        ]
        told = await ask(house, ops)
        assert [(each.get("status"), each.get("outcome")) for each in told] == [
            (400, "not_applied"),
            (400, None),
            (414, "not_applied"),
            (413, "not_applied"),
            *[(400, "not_applied")] * 6,
            (None, "committed"),
        ]
        assert set(house.store.records) == {b"good"}

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"", JSON),
            (b"[]", JSON),
            (b"{}", JSON),
            (b'{"ops": [{"op": "put", "key": "k", "value": "x"}, {"op": "swap", "key": "k"}]}', JSON),
            (b'{"ops": [{"op": "put", "key": "k", "value": "x", "levle": "all"}]}', JSON),
            (b'{"ops": [{"op": "put", "key": "k", "value": "x", "level": "most"}]}', JSON),
            (b'{"ops": [{"op": "put", "key": "k", "value": "x", "if_revision": 0}]}', JSON),
            (b'{"ops": [{"op": "put", "key": "k", "value": "x", "if_revision": 9223372036854775808}]}', JSON),
            (b'{"ops": [{"op": "put", "key": 1, "value": "x"}]}', JSON),
            (b'{"ops": [{"op": "put", "key": "\\ud800", "value": "x"}]}', JSON),
            (b'{"ops": [{"op": "put", "key_base64": "?", "value": "x"}]}', JSON),
            (b'{"ops": [{"op": "get", "key": "k", "if_revision": 3}]}', JSON),
            (b'{"ops": [], "more": 1}', JSON),
            (b'{"ops": [', JSON),
            (b"[" * 100_000, JSON),
            (b"\xff", MSGPACK),
            (b"\x81\xa3ops\xdd\xff\xff\xff\xff", MSGPACK),
            (b"\x91" * 100_000, MSGPACK),
            (b'{"ops": []}', "text/plain"),
        ],
    )
    async def test_what_is_no_batch_is_refused_whole(self, house: House, body: bytes, content_type: str) -> None:
        reply = await house.ask("POST", "/v1/batch", f"Content-Type: {content_type}", body=body)
        assert (reply.status, reply.json["code"], reply.json["outcome"]) == (400, "bad_request", "not_applied")
        assert house.store.calls == []

    @pytest.mark.parametrize("header", ["Idempotency-Key: x", "KV-Session: 1/1/1"])
    async def test_a_name_for_the_whole_is_refused(self, house: House, header: str) -> None:
        reply = await house.ask("POST", "/v1/batch", header, body=b'{"ops":[]}')
        assert reply.status == 400

    async def test_bytes_in_msgpack_that_are_no_text_are_that_operations_problem(self, house: House) -> None:
        ops = [{"op": "put", "key": 7, "value": b"x"}, {"op": "put", "key": b"k", "value": [1]}]
        ops.append({"op": "put", "key_base64": "?", "value": b"x"})
        body = msgspec.msgpack.encode({"ops": ops})
        reply = await house.ask("POST", "/v1/batch", f"Content-Type: {MSGPACK}", body=body)
        assert [each["status"] for each in reply.json["results"]] == [400, 400, 400]

    async def test_the_bounds(self, house: House) -> None:
        most = limits.BATCH_OPS_MAX
        assert len(await ask(house, [{"op": "get", "key": "k"}] * most)) == most
        body = json.dumps({"ops": [{"op": "get", "key": "k"}] * (most + 1)}).encode()
        assert (await house.ask("POST", "/v1/batch", body=body)).status == 400
        reply = await house.ask("POST", "/v1/batch", f"Content-Length: {limits.BATCH_BODY_BYTES_MAX + 1}")
        assert (reply.status, reply.json["outcome"]) == (413, "not_applied")
        assert await ask(house, []) == []


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def endpoint(store: MemoryStore) -> AsyncIterator[str]:
    server = HttpServer(store, Metrics(), listen=("127.0.0.1", 0))
    await server.start()
    host, port = server.address
    yield f"http://{host}:{port}"
    await server.close()


def calls(store: MemoryStore, name: str) -> list[tuple[object, ...]]:
    return [call for call in store.calls if call[0] == name]


class TestBatch:
    async def test_results_are_those_of_single_calls_in_the_order_of_the_operations(self, endpoint: str) -> None:
        async with AsyncClient([endpoint]) as client:
            first = await client.put(b"a", b"1")
            told = await client.batch(
                [
                    Get(b"a"),
                    Put(b"a", b"2", if_revision=first.revision),
                    Put(b"a", b"3", if_absent=True),
                    Delete(b"absent"),
                    Get(b"absent"),
                    Put(b"one", b"v", level="one"),
                    Put(b"all", b"\xff", level="all"),
                    Put(b"", b"v"),
                    Put(b"k" * 4_097, b"v"),
                    Put(b"k", bytes(limits.VALUE_BYTES_MAX + 1)),
                    Get(b"k", level="most"),
                    Put(b"k", b"v", if_revision=0),
                    Put(b"k", b"v", idempotency_key=" "),
                ]
            )
            assert [type(each) for each in told] == [
                Record,
                WriteResult,
                PreconditionFailed,
                NotFound,
                type(None),
                WriteResult,
                WriteResult,
                BadRequest,
                KeyTooLong,
                TooLarge,
                BadRequest,
                BadRequest,
                BadRequest,
            ]
            assert isinstance(told[0], Record)
            assert told[0].value in (b"1", b"2")
            assert isinstance(told[5], WriteResult)
            assert (told[5].outcome, (await client.receipt(told[5].receipt or "")).state) == ("pending", "pending")
            assert await client.batch([]) == []

    async def test_more_than_any_request_takes(self, endpoint: str, store: MemoryStore) -> None:
        keys = [b"k%05d" % number for number in range(12_000)]
        async with AsyncClient([endpoint], timeout_s=60) as client:
            told = await client.batch([Put(key, key) for key in keys])
            assert all(isinstance(each, WriteResult) for each in told)
            found = await client.batch([Get(key) for key in keys])
            assert [each.value for each in found if isinstance(each, Record)] == keys
        assert store.revision == 12_000
        assert max(int(str(call[1])) for call in calls(store, "batch")) <= limits.CLIENT_BATCH_OPS_MAX
        assert store.machine.sessions_open == 0

    async def test_reads_that_have_no_room_in_the_common_answer_are_made_alone(
        self, endpoint: str, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def narrow(ops: Any, *, timeout_s: float) -> list[Any]:
            return [TooLarge("no room", read=True) for _ in ops]

        async with AsyncClient([endpoint]) as client:
            await client.put(b"k", b"v")
            monkeypatch.setattr(store, "batch", narrow)
            record, absent = await client.batch([Get(b"k"), Get(b"absent")])
        assert isinstance(record, Record)
        assert (record.value, absent) == (b"v", None)

    async def test_a_key_may_be_repeated_by_another_client(self, endpoint: str, store: MemoryStore) -> None:
        async with AsyncClient([endpoint]) as one, AsyncClient([endpoint]) as other:
            op = Put(b"k", b"v", if_absent=True, idempotency_key="order 66-ü")
            assert await one.batch([op]) == await other.batch([op])
            (conflict,) = await other.batch([op._replace(value=b"w")])
            assert isinstance(conflict, IdempotencyConflict)
        assert store.revision == 1

    async def test_a_session_that_expired_is_replaced(self, endpoint: str, store: MemoryStore) -> None:
        async with AsyncClient([endpoint]) as client:
            await client.batch([Put(b"k", b"1")])
            store.let_pass(600_001)
            told = await client.batch([Put(b"k", b"2"), Put(b"l", b"2")])
            assert all(isinstance(each, WriteResult) for each in told)
        assert store.revision == 3

    async def test_without_a_session_a_lost_batch_is_unknown_and_not_sent_again(self) -> None:
        arrived = []

        async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.append(await read_request(reader))

        async with misbehaving(drop) as endpoint, AsyncClient([endpoint], sessions=False) as client:
            told = await client.batch([Put(b"a", b"1"), Put(b"b", b"1")])
        assert [type(each) for each in told] == [ConnectionLost, ConnectionLost]
        assert len(arrived) == 1
        assert told[0] is not told[1]

    async def test_a_deadline_holds_for_all_and_reads_say_that_nothing_happened(self) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with misbehaving(silent) as endpoint, AsyncClient([endpoint], sessions=False) as client:
            async with asyncio.timeout(5):
                put, one, get = await client.batch(
                    [Put(b"a", b"1"), Put(b"a", b"1", level="one"), Get(b"a")], timeout_s=0.3
                )
        assert isinstance(put, DeadlineExceeded)
        assert isinstance(one, DeadlineExceeded)
        assert isinstance(get, DeadlineExceeded)
        assert (put.outcome, one.outcome, get.outcome) == ("unknown", "unknown", None)

    async def test_a_refusal_of_all_is_waited_out_and_told_to_each(self, endpoint: str, store: MemoryStore) -> None:
        async with AsyncClient([endpoint], timeout_s=1) as client:
            await client.put(b"k", b"v")
            store.fail = NoQuorum("lost")
            told = await client.batch([Put(b"a", b"1"), Get(b"k")])
        assert all(isinstance(each, NoQuorum) for each in told)
        assert [each.outcome for each in told if isinstance(each, KvError)] == ["not_applied", None]


class TestAutomatic:
    async def test_calls_of_one_turn_travel_together(self, endpoint: str, store: MemoryStore) -> None:
        async with AsyncClient([endpoint], batching=True) as client:
            written = await asyncio.gather(*(client.put(b"k%d" % number, b"v") for number in range(50)))
            assert sorted(each.revision or 0 for each in written) == list(range(1, 51))
            values = await asyncio.gather(*(client.get_value(b"k%d" % number) for number in range(51)))
            assert values == [b"v"] * 50 + [None]
            read, gone = await asyncio.gather(client.get(b"k0"), client.delete(b"k1"))
            assert read is not None
            assert gone.revision == 51
            with pytest.raises(PreconditionFailed):
                await client.put(b"k0", b"w", if_absent=True)
        assert [call[1] for call in calls(store, "batch")[:2]] == [50, 51]

    async def test_calls_with_different_deadlines_do_not_share_one(self) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with misbehaving(silent) as endpoint, AsyncClient([endpoint], batching=True, sessions=False) as client:
            loop = asyncio.get_running_loop()
            begun = loop.time()

            async def took(timeout_s: float) -> float:
                with pytest.raises(DeadlineExceeded):
                    await client.put(b"k", b"v", timeout_s=timeout_s)
                return loop.time() - begun

            short, long = await asyncio.gather(took(0.2), took(1.0))
        assert short < 0.9 <= long

    async def test_one_that_is_refused_does_not_touch_the_others(self, endpoint: str, store: MemoryStore) -> None:
        async with AsyncClient([endpoint], batching=True) as client:
            told = await asyncio.gather(
                client.put(b"", b"v"),
                client.put(b"k", b"v", if_revision=0),
                client.put(b"k", bytes(limits.VALUE_BYTES_MAX + 1)),
                client.put(b"k", b"v"),
                return_exceptions=True,
            )
        assert [type(each) for each in told] == [BadRequest, BadRequest, TooLarge, WriteResult]

    async def test_a_caller_that_is_cancelled_takes_nobody_along(self, endpoint: str, store: MemoryStore) -> None:
        store.gate = asyncio.Event()
        async with AsyncClient([endpoint], batching=True, sessions=False) as client:
            first, second = (asyncio.create_task(client.put(key, b"v")) for key in (b"a", b"b"))
            await store.entered.wait()
            unsent = asyncio.create_task(client.put(b"c", b"v"))
            await asyncio.sleep(0)
            first.cancel()
            unsent.cancel()
            store.gate.set()
            assert (await second).outcome == "committed"
            with pytest.raises(asyncio.CancelledError):
                await first
        assert set(store.records) == {b"a", b"b"}

    async def test_closing_ends_what_waits(self, endpoint: str, store: MemoryStore) -> None:
        store.gate = asyncio.Event()
        client = AsyncClient([endpoint], batching=True, sessions=False)
        sent = asyncio.create_task(client.put(b"a", b"v"))
        await store.entered.wait()
        unsent = asyncio.create_task(client.get(b"a"))
        await asyncio.sleep(0)
        await client.close()
        for each in (sent, unsent):
            with pytest.raises(ConnectionLost):
                await each
        store.gate.set()

    @pytest.mark.parametrize("seed", range(2))
    async def test_increments_through_a_line_that_is_cut_at_random_are_applied_once(
        self, endpoint: str, store: MemoryStore, seed: int
    ) -> None:
        rng = random.Random(seed)
        increments = 60

        async def count(client: AsyncClient, key: bytes) -> None:
            revision = (await client.put(key, b"0", if_absent=True)).revision
            for number in range(1, increments + 1):
                revision = (await client.put(key, b"%d" % number, if_revision=revision)).revision

        async with contextlib.AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(cutting(endpoint, rng, 0.3)) for _ in range(2)]
            client = await stack.enter_async_context(AsyncClient(lines, timeout_s=20, batching=True))
            keys = [b"counter/%d" % number for number in range(8)]
            await asyncio.gather(*(count(client, key) for key in keys))
            assert client.retries > 10
        found = {key: (record.value, record.version) for key, record in store.records.items()}
        assert found == dict.fromkeys(keys, (b"%d" % increments, increments + 1))

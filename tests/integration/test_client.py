"""The client over real sockets: against the HTTP door with a store in memory, and against servers that misbehave."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kvstore import limits
from kvstore.client import AsyncClient, http_transport
from kvstore.errors import (
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    IdempotencyConflict,
    NoQuorum,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Unavailable,
)
from kvstore.http.app import HttpServer
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore

AWKWARD_KEYS = [b"a//b", b".", b"..", b"a/../b", b"/", b"%2F", b"a b+c", b"?x=1&y#z", b"\xff\xfe\x00", "Tür".encode()]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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


@pytest.fixture
async def client(endpoint: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient([endpoint]) as client:
        yield client


@contextlib.asynccontextmanager
async def misbehaving(handler: Handler) -> AsyncIterator[str]:
    """A server on a free port that treats every connection as `handler` does, and cuts what is left at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(treat, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def closed_endpoint() -> str:
    """An address at which nobody listens: bound once, and free again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


@pytest.mark.parametrize("key", AWKWARD_KEYS)
async def test_awkward_keys_arrive_as_they_are(client: AsyncClient, store: MemoryStore, key: bytes) -> None:
    await client.put(key, b"here")
    assert list(store.records) == [key]
    record = await client.get(key)
    assert record is not None
    assert record.value == b"here"
    page = await client.range(prefix=key)
    assert [found for found, _ in page.records] == [key]
    assert (await client.delete(key)).revision == 2
    assert await client.get(key) is None


async def test_every_byte_of_a_value_survives(client: AsyncClient) -> None:
    value = bytes(range(256)) * 16
    written = await client.put(b"k", value, level="all")
    record = await client.get(b"k", level="one")
    assert (written.level, written.outcome, written.receipt) == ("all", "committed", None)
    assert record is not None
    assert record.value == value
    assert await client.get_value(b"k") == value


async def test_the_largest_value_and_the_longest_key(client: AsyncClient) -> None:
    key, value = b"\xff" * 4_096, b"\x00" * (1 << 20)
    await client.put(key, value)
    assert await client.get_value(key) == value
    assert (await client.range(prefix=key)).count == 1


async def test_conditions(client: AsyncClient) -> None:
    first = await client.put(b"k", b"1", if_absent=True)
    with pytest.raises(PreconditionFailed):
        await client.put(b"k", b"2", if_absent=True)
    second = await client.put(b"k", b"2", if_revision=first.revision)
    with pytest.raises(PreconditionFailed):
        await client.delete(b"k", if_revision=first.revision)
    await client.delete(b"k", if_revision=second.revision)
    with pytest.raises(NotFound):
        await client.delete(b"k")


async def test_ranges_page_by_page(client: AsyncClient) -> None:
    keys = [f"p/{number:04}".encode() for number in range(25)]
    for key in [*keys, b"other"]:
        await client.put(key, key)
    pages = [page async for page in client.pages(prefix=b"p/", limit=20)]
    assert [key for page in pages for key, _ in page.records] == keys[:20]
    assert [key async for key, _ in client.scan(prefix=b"p/")] == keys
    first = await client.range(prefix=b"p/", limit=10)
    second = await client.range(prefix=b"p/", limit=10, cursor=first.cursor)
    assert (first.count, [key for key, _ in second.records]) == (25, keys[10:20])
    assert [key for key, _ in (await client.range(start=keys[3], end=keys[5])).records] == keys[3:5]
    assert (await client.range(prefix=b"p/", reverse=True, limit=1)).records[0][0] == keys[-1]


async def test_the_cluster_as_a_node_sees_it(client: AsyncClient) -> None:
    view = await client.cluster()
    assert (view.leader, view.members[0].role, view.members[0].reachable) == ("n1", "leader", True)
    assert (await client.cluster_document())["cluster_id"] == view.cluster_id


async def test_errors_come_back_as_the_class_that_the_node_raised(client: AsyncClient, store: MemoryStore) -> None:
    store.fail = NoQuorum("2 of 3 voters are gone", required=2, acked=1, missing=("n2", "n3"))
    with pytest.raises(NoQuorum) as caught:
        await client.put(b"k", b"v")
    assert (caught.value.outcome, caught.value.missing) == ("not_applied", ("n2", "n3"))


async def test_a_dead_endpoint_is_passed_over(endpoint: str) -> None:
    async with AsyncClient([closed_endpoint(), endpoint]) as client:
        await client.put(b"k", b"v")
        assert await client.get_value(b"k") == b"v"
        assert client.retries == 1


async def test_nobody_there() -> None:
    async with AsyncClient([closed_endpoint(), closed_endpoint()]) as client:
        with pytest.raises(CannotConnect, match="connection refused"):
            await client.put(b"k", b"v")


async def test_a_write_cut_off_after_it_arrived_is_reported_and_never_sent_again() -> None:
    arrived: list[bytes] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await read_request(reader))

    async with misbehaving(cut) as bad, AsyncClient([bad], sessions=False) as client:
        with pytest.raises(ConnectionLost):
            await client.put(b"k", b"v")
    assert len(arrived) == 1


async def test_a_write_into_a_kept_connection_that_closes_is_never_sent_again() -> None:
    """HTTP libraries like to send PUT again here by themselves: a condition would then fail against its own write."""
    arrived: list[bytes] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"revision":1,"version":1,"level":"quorum","required":1,"acked":1,"outcome":"committed"}'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        arrived.append(await read_request(reader))
        writer.write(head + body)
        arrived.append(await read_request(reader))

    async with misbehaving(answer_once) as bad, AsyncClient([bad], sessions=False) as client:
        await client.put(b"k", b"1")
        with pytest.raises(ConnectionLost):
            await client.put(b"k", b"2", if_revision=1)
    assert len(arrived) == 2


async def test_an_answer_cut_in_the_middle_leaves_a_write_unknown() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()

    async with misbehaving(half) as bad, AsyncClient([bad], sessions=False) as client:
        with pytest.raises(ConnectionLost, match="middle of the answer"):
            await client.put(b"k", b"v")


async def test_a_read_goes_round_a_node_that_is_silent(endpoint: str, store: MemoryStore) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with misbehaving(silent) as paused, AsyncClient([endpoint]) as writer:
        await writer.put(b"k", b"v")
        async with AsyncClient([paused, endpoint]) as client:
            assert await client.get_value(b"k") == b"v"
            assert client.retries == 1
            # The silent node is not asked again: this takes no second more.
            async with asyncio.timeout(0.5):
                assert await client.get_value(b"k") == b"v"


async def test_a_write_to_a_silent_node_ends_at_its_deadline_as_unknown(endpoint: str, store: MemoryStore) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        misbehaving(silent) as paused,
        AsyncClient([paused, endpoint], timeout_s=0.3, sessions=False) as client,
    ):
        with pytest.raises(DeadlineExceeded) as caught:
            await client.put(b"k", b"v")
    assert caught.value.outcome == "unknown"
    assert store.calls == []
    async with misbehaving(silent) as paused, AsyncClient([paused], timeout_s=0.3) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.put(b"k", b"v", idempotency_key="mine")
        assert caught.value.outcome == "unknown"
        # Nobody opened a session, so the write itself was never sent.
        with pytest.raises(Unavailable) as refused:
            await client.put(b"k", b"v")
        assert refused.value.outcome == "not_applied"


async def test_a_redirect_is_not_followed(endpoint: str, store: MemoryStore) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 307 Go\r\nLocation: %s/v1/kv/other\r\nContent-Length: 0\r\n\r\n" % endpoint.encode())
        await writer.drain()

    async with misbehaving(redirect) as elsewhere, AsyncClient([elsewhere]) as client:
        with pytest.raises(Exception, match="not of kvstore's API"):
            await client.put(b"k", b"v")
    assert store.calls == []


@contextlib.asynccontextmanager
async def cutting(endpoint: str, rng: random.Random, share: float) -> AsyncIterator[str]:
    """A proxy for `endpoint` that cuts some connections: before the request arrives, after it, or within the answer."""
    host, _, port = endpoint.removeprefix("http://").partition(":")

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_connection(host, int(port))
        try:
            while True:
                request = await read_request(reader)
                fault = rng.choice(["before", "after", "within"]) if rng.random() < share else ""
                if fault == "before":
                    return
                behind.write(request)
                answer = await read_request(behind_reader)
                if fault == "after":
                    return
                writer.write(answer[: len(answer) // 2] if fault else answer)
                await writer.drain()
                if fault:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            behind.close()

    async with misbehaving(treat) as address:
        yield address


@pytest.mark.parametrize("seed", range(3))
async def test_increments_through_a_line_that_is_cut_at_random_are_applied_once(
    endpoint: str, store: MemoryStore, seed: int
) -> None:
    """Each writer adds one to a counter of its own, on condition of what it has seen: a repetition that was judged
    anew would fail against itself, and one that was applied again would count twice.
    """
    rng = random.Random(seed)
    increments = 60

    async def count(client: AsyncClient, key: bytes) -> None:
        revision = (await client.put(key, b"0", if_absent=True)).revision
        for number in range(1, increments + 1):
            revision = (await client.put(key, b"%d" % number, if_revision=revision)).revision

    async with (
        cutting(endpoint, rng, 0.2) as one,
        cutting(endpoint, rng, 0.2) as other,
        AsyncClient([one, other], timeout_s=20) as client,
    ):
        keys = [b"counter/%d" % number for number in range(8)]
        await asyncio.gather(*(count(client, key) for key in keys))
        assert client.retries > 50
    found = {key: (record.value, record.version) for key, record in store.records.items()}
    assert found == dict.fromkeys(keys, (b"%d" % increments, increments + 1))
    assert store.revision == len(keys) * (increments + 1)


async def test_writes_at_level_one_through_such_a_line_are_applied_once(endpoint: str, store: MemoryStore) -> None:
    async with cutting(endpoint, random.Random(4), 0.3) as bad, AsyncClient([bad], timeout_s=20) as client:
        results = [await client.put(b"k%d" % number, b"v", level="one") for number in range(100)]
        assert {(result.outcome, result.revision) for result in results} == {("pending", None)}
        assert client.retries > 10
        assert (await client.wait_receipt(results[0].receipt or "", timeout_s=0.1)).state == "pending"
        waiting = asyncio.create_task(client.wait_receipt(results[99].receipt or "", timeout_s=20))
        store.hand_over()
        receipts = [await client.receipt(result.receipt or "") for result in results]
        assert [(receipt.state, receipt.revision) for receipt in receipts] == [
            ("committed", number) for number in range(1, 101)
        ]
        assert (await waiting).revision == 100
    assert store.revision == 100


async def test_a_pending_write_is_read_at_level_one_without_a_revision(client: AsyncClient, store: MemoryStore) -> None:
    written = await client.put(b"k", b"v", level="one")
    record = await client.get(b"k", level="one", max_staleness_ms=500)
    assert record is not None
    assert (record.value, record.mod_revision, written.revision) == (b"v", 0, None)
    assert await client.get(b"k") is None
    store.hand_over()
    record = await client.get(b"k", level="all")
    assert record is not None
    assert record.mod_revision == 1


async def test_a_session_that_expired_while_its_client_was_idle_is_not_noticed(
    client: AsyncClient, store: MemoryStore
) -> None:
    first = await client.put(b"k", b"1")
    store.let_pass(600_001)
    second = await client.put(b"k", b"2", if_revision=first.revision)
    assert second.version == 2
    assert [call[0] for call in store.calls] == ["open_session", "put", "put", "open_session", "put"]
    await client.close()
    assert store.machine.sessions_open == 0


async def test_an_explicit_key_may_be_repeated_by_another_client(endpoint: str, store: MemoryStore) -> None:
    async with AsyncClient([endpoint]) as one, AsyncClient([endpoint]) as other:
        first = await one.put(b"k", b"v", if_absent=True, idempotency_key="order 66-ü")
        assert await other.put(b"k", b"v", if_absent=True, idempotency_key="order 66-ü") == first
        with pytest.raises(IdempotencyConflict):
            await other.put(b"k", b"w", idempotency_key="order 66-ü")
    assert store.revision == 1


async def test_more_connections_than_the_server_takes_are_refused_and_waited_out(
    endpoint: str, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 1)
    async with AsyncClient([endpoint], timeout_s=20) as first, AsyncClient([endpoint], timeout_s=1.5) as second:
        await first.put(b"k", b"1")
        with pytest.raises(Overloaded) as caught:
            await second.put(b"k", bytes(1 << 20))
        assert caught.value.outcome == "not_applied"
        writing = asyncio.create_task(second.put(b"k", bytes(1 << 20), timeout_s=20))
        await first.close()
        await writing
    assert len(store.records[b"k"].value) == 1 << 20


async def test_a_cancellation_that_comes_with_the_timeout_is_not_lost() -> None:
    """Both are due in one turn of the loop, the timeout first."""
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    async with misbehaving(silent) as paused, AsyncClient([paused], timeout_s=0.2, sessions=False) as client:
        started = loop.time()
        writing = asyncio.create_task(client.put(b"k", b"v"))
        await arrived.wait()
        loop.call_at(started + 0.25, writing.cancel)
        time.sleep(0.3)
        with pytest.raises(asyncio.CancelledError):
            await writing


def test_the_switch_against_silent_repetition_still_exists() -> None:
    """`_retry_connection` is private to aiohttp; without it the client would repeat writes again."""

    async def look() -> bool:
        session = http_transport._session(connections_max=1)
        known = hasattr(type(session), "_retry_connection") or "_retry_connection" in session.ATTRS
        await session.close()
        return known and session._retry_connection is False

    assert asyncio.run(look())

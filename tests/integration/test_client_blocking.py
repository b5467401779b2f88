"""The blocking client over real sockets: the same as AsyncClient, from threads, with deadlines, interrupted, closed."""

import asyncio
import inspect
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvstore.client import (
    AsyncClient,
    AsyncElection,
    AsyncLease,
    AsyncLock,
    AsyncWatch,
    Client,
    Election,
    Lease,
    Lock,
    Watch,
)
from kvstore.client.blocking import LoopThread
from kvstore.errors import CannotConnect, ConnectionLost, DeadlineExceeded, NotFound, PreconditionFailed
from kvstore.http.app import HttpServer
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore


class Served:
    """The HTTP door on a thread of its own, for the test's thread is the one that blocks."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.server = HttpServer(self.store, Metrics(), listen=("127.0.0.1", 0))
        self.thread = LoopThread()
        self.thread.run(self.server.start())
        host, port = self.server.address
        self.endpoint = f"http://{host}:{port}"


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.thread.close(served.server.close())


@pytest.fixture
def silent() -> Iterator[str]:
    """Accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "kvstore-client"]


def shape(method: object) -> tuple[object, ...]:
    signature = inspect.signature(method)  # type: ignore[arg-type]
    returned = str(signature.return_annotation).replace("collections.abc.", "")
    # What lives for a while has a blocking sister: AsyncWatch, Watch.
    returned = re.sub(r"<class 'kvstore\.client\.\w+\.(\w+)'>", r"\1", returned).replace("Async", "")
    return tuple(map(str, signature.parameters.values())), returned


def public(cls: type) -> dict[str, object]:
    """What a class has, from its bases too."""
    return {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}


def test_it_has_every_method_of_the_other_client_with_the_same_types() -> None:
    methods = {name: method for name, method in public(AsyncClient).items() if callable(method) and name != "close"}
    assert len(methods) >= 24
    assert {name: shape(getattr(Client, name)) for name in methods} == {
        name: shape(method) for name, method in methods.items()
    }
    properties = {name for name, each in public(AsyncClient).items() if isinstance(each, property)}
    assert properties == {name for name, each in public(Client).items() if isinstance(each, property)}
    known = set(inspect.signature(AsyncClient.__init__).parameters)
    assert known - set(inspect.signature(Client.__init__).parameters) == {"pacing"}


def test_what_lives_for_a_while_has_every_method_of_its_sister() -> None:
    for one, other in ((AsyncWatch, Watch), (AsyncLease, Lease), (AsyncLock, Lock), (AsyncElection, Election)):
        methods = {name: method for name, method in public(one).items() if callable(method)}
        assert {name: shape(getattr(other, name)) for name in methods} == {
            name: shape(method) for name, method in methods.items()
        }
        properties = {name for name, each in public(one).items() if isinstance(each, property)}
        assert properties <= public(other).keys()


def test_reads_writes_and_errors_are_those_of_the_other_client(served: Served) -> None:
    with Client([served.endpoint]) as client:
        first = client.put(b"k", b"1", if_absent=True)
        with pytest.raises(PreconditionFailed) as refused:
            client.put(b"k", b"2", if_absent=True)
        assert refused.value.outcome == "not_applied"
        record = client.get(b"k")
        assert record is not None
        assert (record.value, record.mod_revision) == (b"1", first.revision)
        assert client.get_value(b"absent") is None
        assert client.delete(b"k").revision == 2
        with pytest.raises(NotFound):
            client.delete(b"k")
        assert client.cluster().leader == "n1"
        pending = client.put(b"one", b"v", level="one")
        assert client.wait_receipt(pending.receipt or "", timeout_s=0.05).state == "pending"
    assert served.store.machine.sessions_open == 0


def test_ranges_are_walked_page_by_page(served: Served) -> None:
    with Client([served.endpoint]) as client:
        keys = [b"k%04d" % number for number in range(2_500)]
        for key in keys[:25]:
            client.put(key, b"v")
        assert [key for key, _ in client.scan(prefix=b"k")] == keys[:25]
        assert [len(page.records) for page in client.pages(prefix=b"k", limit=7)] == [7]
        left_early = client.scan(prefix=b"k")
        assert next(left_early)[0] == keys[0]
    with pytest.raises(RuntimeError, match="closed"):
        next(left_early)


def test_threads_share_one_client(served: Served) -> None:
    before = len(client_threads())
    with Client([served.endpoint]) as client:

        def count(key: bytes) -> None:
            revision = client.put(key, b"0", if_absent=True).revision
            for number in range(20):
                revision = client.put(key, b"%d" % number, if_revision=revision).revision

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(count, [b"counter/%d" % number for number in range(8)]))
        assert len(client_threads()) == before + 1
    assert served.store.revision == 8 * 21


def test_a_deadline_holds_while_nobody_answers(silent: str) -> None:
    with Client([silent], timeout_s=0.3, sessions=False) as client:
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded) as late:
            client.put(b"k", b"v")
        assert late.value.outcome == "unknown"
        with pytest.raises(DeadlineExceeded):
            client.get(b"k", timeout_s=0.2)
        assert time.monotonic() - begun < 3


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client([f"http://127.0.0.1:{port}"]) as client, pytest.raises(CannotConnect):
        client.get(b"k")


@pytest.mark.skipif(os.name != "posix", reason="sends itself a signal")
def test_an_interrupt_is_not_held_up_by_a_silent_node(silent: str) -> None:
    before = client_threads()
    with Client([silent], timeout_s=60) as client:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.get(b"k")
        assert time.monotonic() - begun < 10
    assert client_threads() == before


def test_closing_ends_what_waits_in_other_threads(silent: str) -> None:
    client = Client([silent], timeout_s=60, sessions=False)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.put, b"k", b"v"), pool.submit(client.get, b"k")]
        while len(client._thread._open) < 2:
            time.sleep(0.01)
        client.close()
        for each in waiting:
            with pytest.raises(ConnectionLost):
                each.result(10)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get(b"k")


def test_a_client_that_is_forgotten_takes_its_thread_along(served: Served) -> None:
    before = set(client_threads())
    client = Client([served.endpoint])
    (thread,) = set(client_threads()) - before
    del client
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_is_told_that_the_client_is_its_parents(served: Served) -> None:
    with Client([served.endpoint]) as client:
        client.put(b"k", b"v")
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                client.get(b"k")
            except RuntimeError as refused:
                os.write(write_end, str(refused).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert b"fork" in os.read(read_end, 1_000)
        os.close(read_end)
        os.close(write_end)
        assert client.get_value(b"k") == b"v"


def test_it_does_not_need_the_loop_of_its_caller(served: Served) -> None:
    async def inside() -> bytes | None:
        with Client([served.endpoint]) as client:
            client.put(b"k", b"v")
            return client.get_value(b"k")

    assert asyncio.run(inside()) == b"v"

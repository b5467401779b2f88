"""A cluster with a Prometheus beside it, and what scenarios do to it."""

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

from kvcluster.supervisor import Cluster
from kvjepsen import faulty
from kvstore.client import Client
from kvstore.errors import KvError, LocalError

ANSWER_S_MAX: Final = 15.0


class Lab:
    """`cluster` was started with `program=faulty.PROGRAM`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def names(self) -> list[str]:
        """All nodes."""
        return self.cluster.topology.names

    def leader(self) -> str:
        """Who leads."""
        name = self.cluster.leader()
        assert name is not None, "there is no leader"
        return name

    def followers(self) -> list[str]:
        """Who does not."""
        leader = self.leader()
        return [name for name in self.names if name != leader]

    def order(self, name: str, **what: Any) -> None:
        """Have a node break something (kvjepsen.faulty)."""
        faulty.order(self.cluster, name, **what)

    def client(self, *names: str) -> Client:
        """A client of these nodes, or of all."""
        endpoints = [self.cluster.topology.node(name).http for name in names or self.names]
        return Client(endpoints, tls=self.cluster.tls, timeout_s=ANSWER_S_MAX)

    def ask(self, name: str, method: str, target: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Status and body of one plain request. Raises OSError."""
        address = urlsplit(self.cluster.topology.node(name).http)
        tls = self.cluster.tls
        connection = (
            http.client.HTTPConnection(address.netloc, timeout=ANSWER_S_MAX)
            if tls is None
            else http.client.HTTPSConnection(
                address.netloc, timeout=ANSWER_S_MAX, context=ssl.create_default_context(cafile=tls.cacert)
            )
        )
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            told = answer.read()
            return answer.status, json.loads(told) if "json" in answer.headers.get("Content-Type", "") else told
        finally:
            connection.close()

    @contextmanager
    def meanwhile(self, *works: Callable[[], object], pause_s: float = 0.05) -> Iterator[None]:
        """Do each of `works` over and over, in a thread, until the end of the `with`. Refusals are part of it."""
        over = threading.Event()

        def keep_on(work: Callable[[], object]) -> None:
            while not over.wait(pause_s):
                with suppress(KvError, LocalError, OSError, http.client.HTTPException):
                    work()

        threads = [threading.Thread(target=keep_on, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

"""`Client`: the store for programs without an event loop. The same methods as AsyncClient, the same results and errors.

```python
with Client(["http://127.0.0.1:8480"]) as client:
    client.put(b"greeting", b"hello")
    record = client.get(b"greeting")
```

Each method hands the one of the same name to an AsyncClient in a thread of its own (blocking.py) and waits. So
everything that AsyncClient promises holds here too, and several threads may share one Client.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from kvstore.balancing import Balancer
from kvstore.client.batches import BatchOp, BatchResult
from kvstore.client.blocking import LoopThread
from kvstore.client.client import AsyncClient
from kvstore.client.results import RangePage, WriteResult
from kvstore.client.sync_auth_calls import SyncAuthCalls
from kvstore.client.sync_calls import SyncCalls
from kvstore.client.sync_parts import each
from kvstore.client.wire import Transport
from kvstore.model.results import Receipt, Record
from kvstore.security.client import Tls


class Client(SyncCalls, SyncAuthCalls):
    """Talks to any of `endpoints`; see AsyncClient for what the arguments and methods mean and what they raise.

    Use it as a context manager, or call `close`. Once it is closed, every method raises RuntimeError.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 5.0,
        sessions: bool = True,
        stamps: bool = True,
        balance: str | Balancer | None = None,
        weights: Mapping[str, int] | None = None,
        address: str | None = None,
        batching: bool = False,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        transport: Transport | None = None,
    ) -> None:
        """See AsyncClient."""
        self._client = AsyncClient(
            endpoints,
            timeout_s=timeout_s,
            sessions=sessions,
            stamps=stamps,
            balance=balance,
            weights=weights,
            address=address,
            batching=batching,
            token=token,
            user=user,
            password=password,
            tls=tls,
            transport=transport,
        )
        self._thread = LoopThread()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints as they are used."""
        return self._client.endpoints

    @property
    def retries(self) -> int:
        """How many attempts were made beyond the first of each operation."""
        return self._client.retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way, give the session back if that is quickly done, end every connection and the thread."""
        self._thread.close(self._client.close())

    def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: str = "quorum",
        if_revision: int | None = None,
        if_absent: bool = False,
        if_exists: bool = False,
        lease: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """See AsyncClient.put."""
        return self._run(
            self._client.put(
                key,
                value,
                level=level,
                if_revision=if_revision,
                if_absent=if_absent,
                if_exists=if_exists,
                lease=lease,
                idempotency_key=idempotency_key,
                timeout_s=timeout_s,
            )
        )

    def delete(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        if_revision: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """See AsyncClient.delete."""
        return self._run(
            self._client.delete(
                key, level=level, if_revision=if_revision, idempotency_key=idempotency_key, timeout_s=timeout_s
            )
        )

    def receipt(
        self,
        receipt_id: str,
        *,
        timeout_s: float | None = None,
    ) -> Receipt:
        """See AsyncClient.receipt."""
        return self._run(self._client.receipt(receipt_id, timeout_s=timeout_s))

    def wait_receipt(
        self,
        receipt_id: str,
        timeout_s: float | None = None,
    ) -> Receipt:
        """See AsyncClient.wait_receipt."""
        return self._run(self._client.wait_receipt(receipt_id, timeout_s))

    def get(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        min_revision: int | None = None,
        max_staleness_ms: int | None = None,
        revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Record | None:
        """See AsyncClient.get."""
        return self._run(
            self._client.get(
                key,
                level=level,
                min_revision=min_revision,
                max_staleness_ms=max_staleness_ms,
                revision=revision,
                timeout_s=timeout_s,
            )
        )

    def get_value(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        timeout_s: float | None = None,
    ) -> bytes | None:
        """See AsyncClient.get_value."""
        return self._run(self._client.get_value(key, level=level, timeout_s=timeout_s))

    def batch(self, ops: Sequence[BatchOp], *, timeout_s: float | None = None) -> list[BatchResult]:
        """See AsyncClient.batch."""
        return self._run(self._client.batch(ops, timeout_s=timeout_s))

    def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        reverse: bool = False,
        revision: int | None = None,
        level: str = "quorum",
        timeout_s: float | None = None,
    ) -> RangePage:
        """See AsyncClient.range."""
        return self._run(
            self._client.range(
                prefix=prefix,
                start=start,
                end=end,
                limit=limit,
                cursor=cursor,
                reverse=reverse,
                revision=revision,
                level=level,
                timeout_s=timeout_s,
            )
        )

    def pages(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        revision: int | None = None,
        level: str = "quorum",
    ) -> Iterator[RangePage]:
        """See AsyncClient.pages."""
        return each(
            self._thread,
            self._client.pages(
                prefix=prefix, start=start, end=end, limit=limit, reverse=reverse, revision=revision, level=level
            ),
        )

    def scan(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        reverse: bool = False,
        revision: int | None = None,
        level: str = "quorum",
    ) -> Iterator[tuple[bytes, Record]]:
        """See AsyncClient.scan."""
        return each(
            self._thread,
            self._client.scan(prefix=prefix, start=start, end=end, reverse=reverse, revision=revision, level=level),
        )

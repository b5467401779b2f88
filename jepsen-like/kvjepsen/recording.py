"""The client library with a ledger behind it: every write is noted before it is sent, and then what became of it."""

import time
from collections.abc import Callable, Sequence

from kvjepsen.ledger import Attempt, Ledger
from kvstore.client import AsyncClient, WriteResult
from kvstore.errors import CannotConnect, KvError


class RecordingClient(AsyncClient):
    """An AsyncClient whose writes are in `ledger`.

    After each acknowledged write `on_acknowledged` gets the moment it was begun, by the monotonic clock.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        ledger: Ledger,
        *,
        timeout_s: float = 5.0,
        on_acknowledged: Callable[[float], None] = lambda begun_s: None,
    ) -> None:
        super().__init__(endpoints, timeout_s=timeout_s)
        self._ledger = ledger
        self._on_acknowledged = on_acknowledged

    async def put(
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
        attempt, begun_s = self._ledger.attempt(key, value), time.monotonic()
        try:
            result = await super().put(
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
        except (KvError, CannotConnect) as error:
            self._failed(attempt, error)
            raise
        return self._done(attempt, result, level, begun_s)

    async def delete(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        if_revision: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        attempt, begun_s = self._ledger.attempt(key, None), time.monotonic()
        try:
            result = await super().delete(
                key, level=level, if_revision=if_revision, idempotency_key=idempotency_key, timeout_s=timeout_s
            )
        except (KvError, CannotConnect) as error:
            self._failed(attempt, error)
            raise
        return self._done(attempt, result, level, begun_s)

    def _failed(self, attempt: Attempt, error: KvError | CannotConnect) -> None:
        """Anything but a plain "not applied" leaves the attempt open: it may still take effect."""
        if isinstance(error, CannotConnect) or error.outcome == "not_applied":
            self._ledger.refuse(attempt)

    def _done(self, attempt: Attempt, result: WriteResult, level: str, begun_s: float) -> WriteResult:
        assert result.revision is not None, "a write at QUORUM or ALL has a revision"
        self._ledger.acknowledge(attempt, result.revision, level)
        self._on_acknowledged(begun_s)
        return result

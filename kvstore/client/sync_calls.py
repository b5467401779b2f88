"""The methods of the blocking Client beside those of keys: transactions, watches, leases, locks, members, backups.
sync.py puts them together; see there.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from kvstore.client import txn
from kvstore.client.blocking import LoopThread
from kvstore.client.client import AsyncClient
from kvstore.client.results import KeptAlive, LeaseView, RangeDeleted
from kvstore.client.snapshot_calls import Target
from kvstore.client.sync_parts import Election, Lease, Lock, Watch
from kvstore.model.results import ClusterView

T = TypeVar("T")


class SyncCalls:
    """See Client."""

    _client: AsyncClient
    _thread: LoopThread

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)

    def txn(
        self,
        compare: Sequence[txn.Comparison] = (),
        then: Sequence[txn.Step] = (),
        otherwise: Sequence[txn.Step] = (),
        *,
        level: str = "quorum",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> txn.TxnResult:
        """See AsyncClient.txn."""
        return self._run(
            self._client.txn(
                compare, then, otherwise, level=level, idempotency_key=idempotency_key, timeout_s=timeout_s
            )
        )

    def delete_range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        dry_run: bool = False,
        level: str = "quorum",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> RangeDeleted:
        """See AsyncClient.delete_range."""
        return self._run(
            self._client.delete_range(
                prefix=prefix,
                start=start,
                end=end,
                dry_run=dry_run,
                level=level,
                idempotency_key=idempotency_key,
                timeout_s=timeout_s,
            )
        )

    def compact(self, revision: int, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.compact."""
        return self._run(self._client.compact(revision, timeout_s=timeout_s))

    def watch(
        self,
        key: bytes | None = None,
        *,
        prefix: bytes | None = None,
        start: int | None = None,
        previous: bool = False,
        patience_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Watch:
        """See AsyncClient.watch."""
        watch = self._client.watch(
            key, prefix=prefix, start=start, previous=previous, patience_s=patience_s, timeout_s=timeout_s
        )
        return Watch(self._thread, watch)

    def grant(self, ttl_seconds: float, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.grant."""
        return self._run(self._client.grant(ttl_seconds, timeout_s=timeout_s))

    def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.revoke."""
        return self._run(self._client.revoke(lease_id, timeout_s=timeout_s))

    def keep_alive(self, lease_ids: Sequence[int], *, timeout_s: float | None = None) -> KeptAlive:
        """See AsyncClient.keep_alive."""
        return self._run(self._client.keep_alive(lease_ids, timeout_s=timeout_s))

    def lease_status(self, lease_id: int, *, timeout_s: float | None = None) -> LeaseView:
        """See AsyncClient.lease_status."""
        return self._run(self._client.lease_status(lease_id, timeout_s=timeout_s))

    def leases(self, *, timeout_s: float | None = None) -> list[int]:
        """See AsyncClient.leases."""
        return self._run(self._client.leases(timeout_s=timeout_s))

    def lease(self, ttl_seconds: float = 30.0, *, timeout_s: float | None = None) -> Lease:
        """See AsyncClient.lease."""
        return Lease(self._thread, self._client.lease(ttl_seconds, timeout_s=timeout_s))

    def lock(
        self, name: str | bytes, ttl_seconds: float = 10.0, *, value: bytes = b"", timeout_s: float | None = None
    ) -> Lock:
        """See AsyncClient.lock."""
        return Lock(self._thread, self._client.lock(name, ttl_seconds, value=value, timeout_s=timeout_s))

    def elect(
        self, name: str | bytes, value: bytes = b"", ttl_seconds: float = 10.0, *, timeout_s: float | None = None
    ) -> Election:
        """See AsyncClient.elect."""
        return Election(self._thread, self._client.elect(name, value, ttl_seconds, timeout_s=timeout_s))

    def cluster(
        self,
        *,
        timeout_s: float | None = None,
    ) -> ClusterView:
        """See AsyncClient.cluster."""
        return self._run(self._client.cluster(timeout_s=timeout_s))

    def cluster_document(
        self,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """See AsyncClient.cluster_document."""
        return self._run(self._client.cluster_document(timeout_s=timeout_s))

    def metrics(
        self,
        *,
        timeout_s: float | None = None,
    ) -> str:
        """See AsyncClient.metrics."""
        return self._run(self._client.metrics(timeout_s=timeout_s))

    def add_member(
        self,
        name: str,
        peer: str,
        *,
        timeout_s: float | None = None,
    ) -> ClusterView:
        """See AsyncClient.add_member."""
        return self._run(self._client.add_member(name, peer, timeout_s=timeout_s))

    def remove_member(
        self,
        name: str,
        *,
        force: bool = False,
        timeout_s: float | None = None,
    ) -> int | None:
        """See AsyncClient.remove_member."""
        return self._run(self._client.remove_member(name, force=force, timeout_s=timeout_s))

    def transfer_leader(
        self,
        name: str | None = None,
        *,
        timeout_s: float | None = None,
    ) -> ClusterView:
        """See AsyncClient.transfer_leader."""
        return self._run(self._client.transfer_leader(name, timeout_s=timeout_s))

    def settings(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """See AsyncClient.settings."""
        return self._run(self._client.settings(timeout_s=timeout_s))

    def change_setting(self, name: str, value: int, *, timeout_s: float | None = None) -> dict[str, Any]:
        """See AsyncClient.change_setting."""
        return self._run(self._client.change_setting(name, value, timeout_s=timeout_s))

    def backup(self, file: Target, *, level: str = "quorum", timeout_s: float | None = None) -> int:
        """See AsyncClient.backup."""
        return self._run(self._client.backup(file, level=level, timeout_s=timeout_s))

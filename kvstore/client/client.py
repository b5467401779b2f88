"""`AsyncClient`: the store as a Python object.

The rules for retries are in retry.py, those of sessions in sessions.py, the shapes in results.py.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast
from urllib.parse import quote

from kvstore import limits
from kvstore.balancing import Balancer
from kvstore.client.auth_calls import AuthCalls
from kvstore.client.batches import BatchOp, BatchResult, Delete, Get, Put
from kvstore.client.batching import Batches, Turns
from kvstore.client.calls import JSON
from kvstore.client.cluster_calls import ClusterCalls
from kvstore.client.endpoints import key_path, query
from kvstore.client.lease_calls import LeaseCalls
from kvstore.client.lock_calls import LockCalls
from kvstore.client.results import RangePage, WriteResult, parse_range, parse_receipt, parse_record, parse_write
from kvstore.client.retry import Pacing
from kvstore.client.snapshot_calls import SnapshotCalls
from kvstore.client.transaction_calls import TransactionCalls
from kvstore.client.wire import Request, Transport
from kvstore.errors import BadRequest, KvError, LocalError, NotFound, TooLarge, Unavailable
from kvstore.model.results import Receipt, Record
from kvstore.security.client import Tls

_BYTES = {"Accept": "application/octet-stream"}
_NO_HEADERS: dict[str, str] = {}


class AsyncClient(TransactionCalls, LeaseCalls, LockCalls, ClusterCalls, SnapshotCalls, AuthCalls):
    """Talks to any of `endpoints` (`http://host:port` or `https://...`); an async context manager, for one event loop.

    Every method takes `timeout_s`, the whole time it may take, retries included (default: that of the client). Every
    method raises a KvError for what a node answered, CannotConnect when no endpoint accepted a connection, and a write
    raises ConnectionLost, or a KvError with outcome "unknown", when it may have taken effect, or may still.

    Writes are sent again after failures, and yet applied once: those at QUORUM and ALL in a replicated session, those
    at ONE under a random idempotency key. A write that is given an `idempotency_key` goes under that one instead, and
    may be repeated under it by another process.
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
        pacing: Pacing | None = None,
    ) -> None:
        """Without `sessions`, writes at QUORUM and ALL have no name, and are never sent again once their fate is
        unknown. Without `stamps`, the client does not tell one node what it has seen of another (see stamps.py).

        `balance` places each request by an algorithm of kvstore.balancing ("round_robin", "least_connections",
        "weighted", "hash"); without it a client stays with the endpoint that answered last (see choosing.py).
        `weights`: of endpoints, as they are in `endpoints`, 1 where none is given, 0 for "only if there is no other".
        `address`: what "hash" goes by, the name of this host by default.

        With `batching`, puts, deletes and gets that are begun in one turn of the loop travel as one batch. Each keeps
        its own deadline, retries and outcome (see batching.py).

        Where auth is enabled: `token`, which is sent as it is, or `user` and `password`, for which the client gets
        tokens by itself, and renews them (see authorizing.py).

        `tls`: what is trusted and shown at endpoints that are `https://`; without it the CAs of the system are trusted
        and nothing is shown. Its files are read again when they change.

        Raises ValueError for an endpoint that is no address, an algorithm or weight that is none. `transport` and
        `pacing` are for tests.
        """
        super().__init__(
            endpoints,
            timeout_s=timeout_s,
            sessions=sessions,
            stamps=stamps,
            balance=balance,
            weights=weights,
            address=address,
            token=token,
            user=user,
            password=password,
            tls=tls,
            transport=transport,
            pacing=pacing,
        )
        self._batches = Batches(self._failover, self._sessions, self._pacing, self._get_alone)
        self._turns = Turns(self._batches) if batching else None

    async def close(self) -> None:
        """Gives the session back if that is quickly done, and ends every connection."""
        try:
            if self._turns is not None:
                await self._turns.close()
        finally:
            await super().close()

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
        """Writes `value`. `if_revision`: only if that is the key's mod_revision; `if_absent`: only if there is no key;
        `if_exists`: only if there is one. `lease`: the id of one, with which the key ends; without it the key has none.

        At level ONE the result is pending, see `receipt`; such a write takes no condition. `idempotency_key`: 1 to 256
        bytes of printable text; a repetition under it gets the first answer, for ten minutes at least.

        Raises PreconditionFailed when the condition does not hold, TooLarge above VALUE_BYTES_MAX (never sent).
        """
        if self._turns is not None and lease is None and not if_exists:
            op = Put(key, value, level, if_revision, if_absent, idempotency_key)
            return cast(WriteResult, await self._turns.call(op, self._within(timeout_s)))
        if len(value) > limits.VALUE_BYTES_MAX:
            raise TooLarge(f"the value has {len(value):,} bytes; at most {limits.VALUE_BYTES_MAX:,} are allowed")
        headers = _condition(if_revision, if_absent, if_exists)
        parameters = query([("level", level), ("lease", lease)])
        request = Request("PUT", key_path(key), parameters, headers, value, write=True)
        return parse_write(key, (await self._write(request, level, idempotency_key, timeout_s)).body)

    async def delete(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        if_revision: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Removes `key`; see `put`. Raises NotFound when it is absent, but not at level ONE."""
        if self._turns is not None:
            op = Delete(key, level, if_revision, idempotency_key)
            return cast(WriteResult, await self._turns.call(op, self._within(timeout_s)))
        headers = _condition(if_revision)
        request = Request("DELETE", key_path(key), query([("level", level)]), headers, None, write=True)
        return parse_write(key, (await self._write(request, level, idempotency_key, timeout_s)).body)

    async def receipt(self, receipt_id: str, *, timeout_s: float | None = None) -> Receipt:
        """What has become of a write at level ONE. Raises MembersUnreachable when only a node that is away can tell."""
        path = "/v1/receipts/" + quote(receipt_id, safe="")
        request = Request("GET", path, "", JSON, None, write=False)
        return parse_receipt((await self._send(request, timeout_s)).body)

    async def wait_receipt(self, receipt_id: str, timeout_s: float | None = None) -> Receipt:
        """Likewise, once it is not pending any more; or still pending, when `timeout_s` is over.

        Asks again and again, for HTTP has no event to wait for.
        """
        deadline = self._pacing.now() + (self._timeout_s if timeout_s is None else timeout_s)
        pause_s = limits.RECEIPT_POLL_S_MIN
        while True:
            left_s = deadline - self._pacing.now()
            try:
                found = await self.receipt(receipt_id, timeout_s=left_s)
                if found.state != "pending" or left_s <= pause_s:
                    return found
            except Unavailable:
                # The node that can tell may come back.
                if left_s <= pause_s:
                    raise
            await self._pacing.sleep(self._pacing.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, limits.RECEIPT_POLL_S_MAX)

    async def get(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        min_revision: int | None = None,
        max_staleness_ms: int | None = None,
        revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Record | None:
        """The record of `key`, None when it is absent. `min_revision`: wait until the node has applied that much.
        `revision`: as it was then, or Compacted if that is no longer kept.

        `max_staleness_ms`, at level ONE: wait until the node lacks nothing that was acknowledged longer ago than that.
        At level ONE a record with mod_revision 0 is a write at level ONE that is still pending.
        """
        if self._turns is not None and min_revision is None and max_staleness_ms is None and revision is None:
            return cast(Record | None, await self._turns.call(Get(key, level), self._within(timeout_s)))
        parameters = query(
            [
                ("level", level),
                ("min_revision", min_revision),
                ("max_staleness_ms", max_staleness_ms),
                ("revision", revision),
            ]
        )
        request = Request("GET", key_path(key), parameters, JSON, None, write=False)
        try:
            return parse_record((await self._send(request, timeout_s)).body)
        except NotFound:
            return None

    async def get_value(self, key: bytes, *, level: str = "quorum", timeout_s: float | None = None) -> bytes | None:
        """The value alone, None when the key is absent; cheaper than `get`."""
        if self._turns is not None:
            record = cast(Record | None, await self._turns.call(Get(key, level), self._within(timeout_s)))
            return None if record is None else record.value
        request = Request("GET", key_path(key), query([("level", level)]), _BYTES, None, write=False)
        try:
            return (await self._send(request, timeout_s)).body
        except NotFound:
            return None

    async def batch(self, ops: Sequence[BatchOp], *, timeout_s: float | None = None) -> list[BatchResult]:
        """Carries out `ops` (Put, Delete, Get), however many, and gives the result of each, in their order: what its
        call would have returned, or the error that it would have raised. Raises nothing for one of them.

        They are independent, and happen at the same time: a Get may or may not see a Put of the same batch, and of two
        Puts of one key either may be the last.
        """
        return await self._batches.send(ops, self._within(timeout_s))

    async def range(
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
        """One page: the keys that begin with `prefix`, or those from `start` up to and without `end`; in order. As they
        were at `revision`, if that is given. A `cursor` stays at the revision of its page.
        """
        if prefix is not None and (start is not None or end is not None):
            raise BadRequest("give a prefix, or start and end, not both", read=True)
        parameters = query(
            [
                ("prefix", prefix),
                ("start", start),
                ("end", end),
                ("limit", limit),
                ("cursor", cursor),
                ("reverse", "true" if reverse else None),
                ("revision", revision),
                ("level", level),
            ]
        )
        request = Request("GET", "/v1/kv", parameters, JSON, None, write=False)
        return parse_range((await self._send(request, timeout_s)).body)

    async def pages(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        revision: int | None = None,
        level: str = "quorum",
    ) -> AsyncIterator[RangePage]:
        """Every page of the range, or those with its first `limit` keys: all at one revision, `revision` if that is
        given; but at level "one" each at the present of its own.
        """
        cursor: str | None = None
        left = limit
        while True:
            size = limits.RANGE_LIMIT_DEFAULT if left is None else min(left, limits.RANGE_LIMIT_DEFAULT)
            page = await self.range(
                prefix=prefix,
                start=start,
                end=end,
                limit=size,
                cursor=cursor,
                reverse=reverse,
                revision=revision,
                level=level,
            )
            yield page
            cursor = page.cursor
            left = None if left is None else left - len(page.records)
            if cursor is None or (left is not None and left <= 0):
                return

    async def scan(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        reverse: bool = False,
        revision: int | None = None,
        level: str = "quorum",
    ) -> AsyncIterator[tuple[bytes, Record]]:
        """Every key of the range with its record; see `pages`."""
        async for page in self.pages(
            prefix=prefix, start=start, end=end, reverse=reverse, revision=revision, level=level
        ):
            for item in page.records:
                yield item

    async def _get_alone(self, op: Get, timeout_s: float) -> BatchResult:
        request = Request("GET", key_path(op.key), query([("level", op.level)]), JSON, None, write=False)
        try:
            return parse_record((await self._failover.send(request, timeout_s)).body)
        except NotFound:
            return None
        except (KvError, LocalError) as failed:
            return failed


def _condition(if_revision: int | None, if_absent: bool = False, if_exists: bool = False) -> dict[str, str]:
    if if_absent + if_exists + (if_revision is not None) > 1:
        raise BadRequest("a write takes one condition: if_revision, if_absent or if_exists")
    if if_absent:
        return {"If-None-Match": "*"}
    if if_exists:
        return {"If-Match": "*"}
    return {"If-Match": f'"{if_revision}"'} if if_revision is not None else _NO_HEADERS

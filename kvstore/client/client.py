"""`AsyncClient`: the store as a Python object. The rules for retries are in retry.py, the shapes in results.py."""

import json
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

from kvstore import limits
from kvstore.client.endpoints import key_path, parse_endpoints, query
from kvstore.client.results import (
    RangePage,
    WriteResult,
    decode_json,
    parse_cluster,
    parse_range,
    parse_record,
    parse_write,
)
from kvstore.client.retry import Failover, Pacing
from kvstore.client.wire import Reply, Request, Transport
from kvstore.errors import BadRequest, NotFound, TooLarge
from kvstore.model.results import ClusterView, Record

_JSON = {"Accept": "application/json"}
_BYTES = {"Accept": "application/octet-stream"}
_NO_HEADERS: dict[str, str] = {}


class AsyncClient:
    """Talks to any of `endpoints` (`http://host:port`); use it as an async context manager, in one event loop.

    Every method takes `timeout_s`, the whole time it may take, retries included (default: that of the client). Every
    method raises a KvError for what a node answered, CannotConnect when no endpoint accepted a connection, and a write
    raises ConnectionLost or DeadlineExceeded when its outcome is unknown: it may have taken effect, or may still.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 5.0,
        transport: Transport | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        """Raises ValueError for an endpoint that is no address. `transport` and `pacing` are for tests."""
        if transport is None:
            from kvstore.client.http_transport import HttpTransport

            transport = HttpTransport()
        self._transport = transport
        self._failover = Failover(parse_endpoints(endpoints), transport, pacing or Pacing())
        self._timeout_s = timeout_s

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints as they are used."""
        return self._failover.endpoints

    @property
    def retries(self) -> int:
        """How many attempts were made beyond the first of each operation."""
        return self._failover.retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every connection."""
        await self._transport.close()

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: str = "quorum",
        if_revision: int | None = None,
        if_absent: bool = False,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Writes `value`. `if_revision`: only if that is the key's mod_revision; `if_absent`: only if there is no key.

        Raises PreconditionFailed when the condition does not hold, TooLarge above VALUE_BYTES_MAX (never sent).
        """
        if len(value) > limits.VALUE_BYTES_MAX:
            raise TooLarge(f"the value has {len(value):,} bytes; at most {limits.VALUE_BYTES_MAX:,} are allowed")
        headers = _condition(if_revision, if_absent)
        request = Request("PUT", key_path(key), query([("level", level)]), headers, value, write=True)
        return parse_write(key, (await self._send(request, timeout_s)).body)

    async def delete(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        if_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Removes `key`. Raises NotFound when it is absent, PreconditionFailed as `put` does."""
        headers = _condition(if_revision, if_absent=False)
        request = Request("DELETE", key_path(key), query([("level", level)]), headers, None, write=True)
        return parse_write(key, (await self._send(request, timeout_s)).body)

    async def get(
        self,
        key: bytes,
        *,
        level: str = "quorum",
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Record | None:
        """The record of `key`, None when it is absent. `min_revision`: wait until the node has applied that much."""
        parameters = query([("level", level), ("min_revision", min_revision)])
        request = Request("GET", key_path(key), parameters, _JSON, None, write=False)
        try:
            return parse_record((await self._send(request, timeout_s)).body)
        except NotFound:
            return None

    async def get_value(self, key: bytes, *, level: str = "quorum", timeout_s: float | None = None) -> bytes | None:
        """The value alone, None when the key is absent; cheaper than `get`."""
        request = Request("GET", key_path(key), query([("level", level)]), _BYTES, None, write=False)
        try:
            return (await self._send(request, timeout_s)).body
        except NotFound:
            return None

    async def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        reverse: bool = False,
        level: str = "quorum",
        timeout_s: float | None = None,
    ) -> RangePage:
        """One page: the keys that begin with `prefix`, or those from `start` up to and without `end`; in order."""
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
                ("level", level),
            ]
        )
        request = Request("GET", "/v1/kv", parameters, _JSON, None, write=False)
        return parse_range((await self._send(request, timeout_s)).body)

    async def pages(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        level: str = "quorum",
    ) -> AsyncIterator[RangePage]:
        """Every page of the range, or those with its first `limit` keys. Each page is at one revision of its own."""
        cursor: str | None = None
        left = limit
        while True:
            size = limits.RANGE_LIMIT_DEFAULT if left is None else min(left, limits.RANGE_LIMIT_DEFAULT)
            page = await self.range(
                prefix=prefix, start=start, end=end, limit=size, cursor=cursor, reverse=reverse, level=level
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
        level: str = "quorum",
    ) -> AsyncIterator[tuple[bytes, Record]]:
        """Every key of the range with its record; see `pages`."""
        async for page in self.pages(prefix=prefix, start=start, end=end, reverse=reverse, level=level):
            for item in page.records:
                yield item

    async def cluster(self, *, timeout_s: float | None = None) -> ClusterView:
        """The cluster as the node that answers sees it."""
        return parse_cluster(await self.cluster_document(timeout_s=timeout_s))

    async def cluster_document(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The same as the node wrote it, with members that this version may not know."""
        request = Request("GET", "/v1/cluster", "", _JSON, None, write=False, timed=False)
        return decode_json((await self._send(request, timeout_s)).body, read=True)

    async def add_member(self, name: str, peer: str, *, timeout_s: float | None = None) -> ClusterView:
        """Take in `name`, which listens to peers at `peer`, as a learner. Raises MembershipRefused."""
        return await self._change("POST", "/v1/cluster/members", {"name": name, "peer": peer}, timeout_s)

    async def remove_member(self, name: str, *, timeout_s: float | None = None) -> ClusterView:
        """Remove `name`. Raises MembershipRefused."""
        return await self._change("DELETE", f"/v1/cluster/members/{name}", None, timeout_s)

    async def transfer_leader(self, name: str | None = None, *, timeout_s: float | None = None) -> ClusterView:
        """Make `name`, or whoever is most current, the leader. Raises MembershipRefused."""
        return await self._change("POST", "/v1/cluster/leader", {} if name is None else {"name": name}, timeout_s)

    async def _change(
        self, method: str, path: str, body: dict[str, str] | None, timeout_s: float | None
    ) -> ClusterView:
        data = None if body is None else json.dumps(body).encode()
        request = Request(method, path, "", _JSON, data, write=True)
        return parse_cluster(decode_json((await self._send(request, timeout_s)).body, read=False))

    async def _send(self, request: Request, timeout_s: float | None) -> Reply:
        return await self._failover.send(request, self._timeout_s if timeout_s is None else timeout_s)


def _condition(if_revision: int | None, if_absent: bool) -> dict[str, str]:
    if if_absent and if_revision is not None:
        raise BadRequest("a write takes one condition: if_revision or if_absent")
    if if_absent:
        return {"If-None-Match": "*"}
    return {"If-Match": f'"{if_revision}"'} if if_revision is not None else _NO_HEADERS

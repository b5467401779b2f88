"""Leases, as methods of AsyncClient."""

import json
from collections.abc import Sequence

from kvstore.client.calls import JSON, Calls
from kvstore.client.leases import AsyncLease
from kvstore.client.results import (
    KeptAlive,
    LeaseView,
    parse_granted,
    parse_kept_alive,
    parse_lease,
    parse_leases,
    parse_number,
)
from kvstore.client.wire import Request

_BODY = {**JSON, "Content-Type": "application/json"}


class LeaseCalls(Calls):
    """See AsyncClient."""

    async def grant(self, ttl_seconds: float, *, timeout_s: float | None = None) -> int:
        """A new lease, by its id. It ends, and its keys with it, unless it is kept alive; see `lease` for one that
        keeps itself alive.
        """
        body = json.dumps({"ttl_seconds": ttl_seconds}).encode()
        request = Request("POST", "/v1/leases", "", _BODY, body, write=True)
        return parse_granted((await self._write(request, "quorum", None, timeout_s)).body)[0]

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> int:
        """Ends a lease now; how many keys were deleted with it. Raises LeaseNotFound."""
        request = Request("DELETE", f"/v1/leases/{lease_id:d}", "", JSON, None, write=True)
        return parse_number((await self._write(request, "quorum", None, timeout_s)).body, "deleted", read=False)

    async def keep_alive(self, lease_ids: Sequence[int], *, timeout_s: float | None = None) -> KeptAlive:
        """Gives each of them its whole time again; which live on, and which are gone."""
        body = json.dumps({"ids": list(lease_ids)}).encode()
        # Like a read it may be repeated at will.
        request = Request("POST", "/v1/leases/keepalive", "", _BODY, body, write=False)
        return parse_kept_alive((await self._send(request, timeout_s)).body)

    async def lease_status(self, lease_id: int, *, timeout_s: float | None = None) -> LeaseView:
        """A lease: what is left of its time, and its keys. Raises LeaseNotFound."""
        request = Request("GET", f"/v1/leases/{lease_id:d}", "", JSON, None, write=False)
        return parse_lease((await self._send(request, timeout_s)).body)

    async def leases(self, *, timeout_s: float | None = None) -> list[int]:
        """The ids of all leases."""
        request = Request("GET", "/v1/leases", "", JSON, None, write=False)
        return parse_leases((await self._send(request, timeout_s)).body)

    def lease(self, ttl_seconds: float = 30.0, *, timeout_s: float | None = None) -> AsyncLease:
        """A lease that keeps itself alive while its block runs, and is revoked at its end: `async with client.lease(
        ttl_seconds=30) as lease: await client.put(b"k", b"v", lease=lease.id)`. See AsyncLease.
        """
        return AsyncLease(self, ttl_seconds, self._within(timeout_s), self._pacing)

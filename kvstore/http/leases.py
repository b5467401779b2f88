"""Handlers of leases: grant, keep alive, look at, revoke."""

from typing import Annotated, ClassVar

import msgspec
from aiohttp import web
from msgspec import Meta, UnsetType

from kvstore import limits
from kvstore.errors import LeaseNotFound
from kvstore.http import parse
from kvstore.http.answer import Answer
from kvstore.http.asked import asked
from kvstore.http.kv import Door, once_of
from kvstore.http.once import shaped
from kvstore.http.shapes import keyed

_Seconds = Annotated[float, Meta(ge=limits.LEASE_TTL_MS_MIN / 1000, le=limits.LEASE_TTL_MS_MAX / 1000)]


class GrantBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/leases`."""

    ttl_seconds: _Seconds


class LeaseBody(msgspec.Struct):
    """A lease."""

    id: int
    ttl_seconds: float


class LeaseKey(msgspec.Struct):
    """A key that is attached to a lease."""

    EITHER: ClassVar[tuple[str, ...]] = ("key",)

    key: str | UnsetType
    key_base64: bytes | UnsetType


class LeaseViewBody(msgspec.Struct):
    """A lease, what is left of its time, and the keys that go with it."""

    id: int
    ttl_seconds: float
    remaining_seconds: float
    keys: list[LeaseKey]


class LeasesBody(msgspec.Struct):
    """The ids of all leases."""

    leases: list[int]


class RevokedBody(msgspec.Struct):
    """A lease that was revoked, and how many keys were deleted with it."""

    id: int
    deleted: int


async def grant(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A new lease. Body: {"ttl_seconds"}. It ends with its keys unless it is kept alive that often."""
    timeout_s = parse.timeout_option(query)
    once = once_of(door, request)
    body, took_s = await asked(door, request, GrantBody, timeout_s=timeout_s)
    ttl_ms = round(body.ttl_seconds * 1000)
    answer = await door.store.leases.grant(ttl_ms, once=once, timeout_s=timeout_s - took_s)
    return shaped(door, request, 201, LeaseBody(answer.id, answer.ttl_ms / 1000))


async def keep_alive(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Gives a lease its whole time again, counted from the answer."""
    timeout_s = parse.timeout_option(query)
    lease = parse.number_of(raw_key, "lease")
    (ttl_ms,) = await door.store.leases.keep_alive([lease], timeout_s=timeout_s)
    if not ttl_ms:
        raise LeaseNotFound("there is no such lease: it has expired or was revoked, or never was")
    return shaped(door, request, 200, LeaseBody(lease, ttl_ms / 1000))


async def get_lease(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A lease, what is left of its time, and its keys."""
    timeout_s = parse.timeout_option(query)
    answer = await door.store.leases.lease(parse.number_of(raw_key, "lease"), timeout_s=timeout_s)
    keys = [LeaseKey(*keyed(key)) for key in answer.keys]
    return shaped(door, request, 200, LeaseViewBody(answer.id, answer.ttl_ms / 1000, answer.left_ms / 1000, keys))


async def get_leases(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The ids of all leases."""
    timeout_s = parse.timeout_option(query)
    return shaped(door, request, 200, LeasesBody(await door.store.leases.leases(timeout_s=timeout_s)))


async def revoke(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Ends a lease now; its keys are deleted."""
    timeout_s = parse.timeout_option(query)
    lease = parse.number_of(raw_key, "lease")
    deleted = await door.store.leases.revoke(lease, once=once_of(door, request), timeout_s=timeout_s)
    return shaped(door, request, 200, RevokedBody(lease, deleted))

"""Who a client is: every request carries a token, which is got for a password and renewed by itself.

A1. A token that was given is sent as it is, and never replaced.
A2. With a user and a password, a token is got before the first request, and another one when two thirds of its time are
    over. While nobody can give one, the old one goes on as long as it is good.
A3. A request that is refused because of its token (401) took no effect: it is sent again once, with a new token.
A4. Where auth is not enabled no token is got, and none is needed, until somebody says 401.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Final

from kvstore import limits
from kvstore.client.wire import AttemptFailed, NotSent, Reply, Request, Stream, Transport

_PATH: Final = "/v1/auth/token"
_JSON: Final = {"Accept": "application/json", "Content-Type": "application/json"}
_RENEW_AFTER: Final = 2 / 3
_DUE: Final = object()


class AuthorizedTransport:
    """A transport that says who the client is. `now`: monotonic seconds."""

    def __init__(
        self,
        transport: Transport,
        now: Callable[[], float],
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self._transport = transport
        self._now = now
        self._given = token is not None
        self._token = token
        self._login = None if user is None or password is None else json.dumps({"user": user, "password": password})
        self._renew_at = float("inf") if token is not None else 0.0
        self._ends_at = float("inf")
        self._turn = asyncio.Lock()

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        """See Transport.send."""
        began = self._now()
        refused = await self._ready(endpoint, total_s, idle_s)
        if refused is not None:
            return refused
        token = self._token
        reply = await self._transport.send(
            endpoint, self._authorized(request), total_s=self._left(total_s, began), idle_s=idle_s
        )
        if reply.status != 401 or not self._renews:
            return reply
        refused = await self._ready(endpoint, self._left(total_s, began), idle_s, instead_of=token)
        if refused is not None:
            return refused
        return await self._transport.send(
            endpoint, self._authorized(request), total_s=self._left(total_s, began), idle_s=idle_s
        )

    async def open(self, endpoint: str, request: Request, *, begin_s: float, idle_s: float) -> Stream:
        """See Transport.open."""
        await self._ready(endpoint, begin_s, begin_s)
        token = self._token
        stream = await self._transport.open(endpoint, self._authorized(request), begin_s=begin_s, idle_s=idle_s)
        if stream.status != 401 or not self._renews:
            return stream
        if await self._ready(endpoint, begin_s, begin_s, instead_of=token) is not None:
            return stream
        stream.close()
        return await self._transport.open(endpoint, self._authorized(request), begin_s=begin_s, idle_s=idle_s)

    async def close(self) -> None:
        """Ends every connection."""
        await self._transport.close()

    def _left(self, total_s: float, began: float) -> float:
        return max(total_s - (self._now() - began), 0.001)

    @property
    def _renews(self) -> bool:
        return self._login is not None and not self._given

    def _authorized(self, request: Request) -> Request:
        if self._token is None or request.path == _PATH:
            return request
        return request._replace(headers={**request.headers, "Authorization": f"Bearer {self._token}"})

    async def _ready(self, endpoint: str, total_s: float, idle_s: float, *, instead_of: object = _DUE) -> Reply | None:
        """There is a token, if one is needed: one that is not due to be renewed, or another one than `instead_of`. What
        was answered if none could be got. Raises NotSent: without a token nothing else was sent.
        """
        due = instead_of is _DUE
        if self._login is None or (due and self._now() < self._renew_at):
            return None
        async with self._turn:
            if self._now() < self._renew_at if due else self._token != instead_of:
                return None  # somebody else has got one meanwhile
            try:
                return await self._get(endpoint, total_s, idle_s)
            except AttemptFailed as failed:
                if due and self._token is not None and self._now() < self._ends_at:
                    return None
                raise NotSent(f"no token: {failed}") from failed

    async def _get(self, endpoint: str, total_s: float, idle_s: float) -> Reply | None:
        assert self._login is not None
        request = Request("POST", _PATH, "", _JSON, self._login.encode(), write=False)
        reply = await self._transport.send(endpoint, request, total_s=total_s, idle_s=idle_s)
        now = self._now()
        if reply.status == 409:
            self._token, self._renew_at = None, float("inf")  # auth is not enabled
            return None
        told = _token_of(reply)
        if told is None:
            # The old one may do for a while, if it is only the giving of tokens that fails.
            return None if reply.status >= 429 and self._token is not None and now < self._ends_at else reply
        self._token, lasts_s = told
        self._renew_at, self._ends_at = now + _RENEW_AFTER * lasts_s, now + lasts_s
        return None


def _token_of(reply: Reply) -> tuple[str, float] | None:
    if reply.status != 200:
        return None
    try:
        told = json.loads(reply.body)
        token, lasts_s = told["token"], float(told["expires_seconds"])
    except (ValueError, KeyError, TypeError):
        return None
    return (token, lasts_s) if isinstance(token, str) and len(token) <= limits.TOKEN_CHARS_MAX else None

"""What every method of AsyncClient stands on: endpoints, failover, the session, deadlines."""

import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from kvstore.balancing import Balancer
from kvstore.client.authorizing import AuthorizedTransport
from kvstore.client.batches import key_problem
from kvstore.client.choosing import Choice
from kvstore.client.endpoints import parse_endpoints
from kvstore.client.retry import Failover, Pacing
from kvstore.client.sessions import Sessions
from kvstore.client.stamps import StampedTransport
from kvstore.client.wire import Reply, Request, Transport
from kvstore.errors import BadRequest
from kvstore.security.client import Tls

JSON: Final = {"Accept": "application/json"}


class Calls:
    """Sends requests for the methods of its subclasses."""

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
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        transport: Transport | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        """See AsyncClient."""
        if transport is None:
            from kvstore.client.http_transport import HttpTransport

            transport = HttpTransport(tls)
        self._pacing = pacing or Pacing()
        if (user is None) != (password is None):
            raise ValueError("a user and a password go together")
        if token is not None or user is not None:
            transport = AuthorizedTransport(transport, self._pacing.now, token=token, user=user, password=password)
        self._transport = StampedTransport(transport) if stamps else transport
        choice = Choice(parse_endpoints(endpoints), balance, weights, address)
        self._failover = Failover(choice, self._transport, self._pacing)
        self._sessions = Sessions(self._failover, self._pacing, timeout_s) if sessions else None
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
        """Gives the session back if that is quickly done, and ends every connection."""
        try:
            if self._sessions is not None:
                await self._sessions.close()
        finally:
            await self._transport.close()

    async def _write(self, request: Request, level: str, idempotency_key: str | None, timeout_s: float | None) -> Reply:
        if idempotency_key is None and level == "one":
            idempotency_key = secrets.token_hex(16)
        if idempotency_key is not None:
            headers = {**request.headers, "Idempotency-Key": _checked(idempotency_key)}
            return await self._send(request._replace(headers=headers, named=True), timeout_s)
        if self._sessions is not None:
            return await self._sessions.send(request, self._within(timeout_s))
        return await self._send(request, timeout_s)

    async def _send(self, request: Request, timeout_s: float | None) -> Reply:
        return await self._failover.send(request, self._within(timeout_s))

    def _within(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


def _checked(idempotency_key: str) -> str:
    wrong = key_problem(idempotency_key)
    if wrong is not None:
        raise BadRequest(wrong)
    return idempotency_key

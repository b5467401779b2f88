"""What every node of a cluster tells of itself: its view from `/v1/cluster`, and its metrics.

Begins with the endpoints that were given, and goes on to the members that they name: one endpoint is enough.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kvcli.credentials import Credentials
from kvcli.metrics_text import Samples, read
from kvstore.errors import KvError, LocalError

if TYPE_CHECKING:
    from kvcli.options import Settings
    from kvstore.client import AsyncClient
    from kvstore.model.results import ClusterView

ASK_S_MAX: Final = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """What one endpoint told. `name`: of its node, None if nobody knows. `at`: monotonic seconds of the answer.
    `given`: it was asked for, and is not only where a member says that it is.
    """

    endpoint: str
    name: str | None
    view: "ClusterView | Exception"
    metrics: "Samples | Exception"
    at: float = 0.0
    given: bool = True


class Scraper:
    """Keeps a client for each node from one round to the next."""

    def __init__(self, chosen: "Settings", who: Credentials) -> None:
        self._chosen = chosen
        self._who = who
        self.timeout_s = min(chosen.timeout_s, ASK_S_MAX)
        self._clients: dict[str, AsyncClient] = {}

    async def close(self) -> None:
        """Ends every connection."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def round(self) -> list[Told]:
        """Everything, from every node that can be found; those that were given come first."""
        told = list(await asyncio.gather(*map(self._ask, self._chosen.endpoints)))
        names = {each.name for each in told}
        others: dict[str, str] = {}
        for view in [each.view for each in told if not isinstance(each.view, Exception)]:
            others |= {member.http: member.name for member in view.members if member.http and member.reachable}
        more = [http for http, name in others.items() if name not in names and http not in self._chosen.endpoints]
        found = await asyncio.gather(*map(self._ask, more))
        return [*told, *(replace(each, given=False) for each in found)]

    async def _ask(self, endpoint: str) -> Told:
        client = self._clients.get(endpoint)
        if client is None:
            client = self._clients[endpoint] = self._chosen.client(
                (endpoint,), timeout_s=self.timeout_s, who=self._who, sessions=False
            )
        try:
            view = await client.cluster()
        except (KvError, LocalError) as failed:
            return Told(endpoint, None, failed, failed)
        try:
            text = await client.metrics()
            at, samples = time.monotonic(), read(text)
        except (KvError, LocalError, ValueError) as failed:
            return Told(endpoint, view.node, view, failed)
        return Told(endpoint, view.node, view, samples, at)

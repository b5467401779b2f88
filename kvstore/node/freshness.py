"""Reads at level ONE that bound how stale they may be: they wait until the leader's word of now is applied here."""

import asyncio

from kvstore.errors import DeadlineExceeded
from kvstore.node.deadlines import Expired
from kvstore.node.site import Site


class Freshness:
    """Waits for the state of this node to be fresh enough."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def wait(self, staleness_s_max: float, at: float) -> None:
        """Return while the applied state is at most so old. Raises DeadlineExceeded at loop time `at`."""
        engine = self._site.engine
        if engine.staleness_s() <= staleness_s_max:
            return
        future: asyncio.Future[None] = self._site.loop.create_future()

        def done() -> None:
            if not future.done():
                future.set_result(None)

        engine.when_fresher(staleness_s_max, done)
        try:
            await self._site.deadlines.wait(future, at)
        except Expired:
            engine.forget_fresher(done)
            staleness_s = engine.staleness_s()
            known = "unknown" if staleness_s == float("inf") else f"{staleness_s * 1000:.0f} ms"
            raise DeadlineExceeded(
                f"the state of this node did not become fresh enough in time; its staleness is {known}", read=True
            ) from None

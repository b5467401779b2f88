"""Waiting for a leader: who leads, whether a majority can be there at all, and when to give up.

A request that finds no leader waits for one as long as an election may take. It is refused at once when a majority
cannot be reached: no connection to enough voters, or none of them has been heard from since the leader was lost.
"""

import asyncio

from kvstore import outcomes
from kvstore.consensus.configuration import majority
from kvstore.consensus.engine import Engine
from kvstore.errors import KvError
from kvstore.node.deadlines import Deadlines, Expired


class LeaderWatch:
    """Keeps the time since when no leader is known and wakes those who wait for a change."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, engine: Engine, patience_s: float
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._engine = engine
        self._patience_s = patience_s
        self._leaderless_since: float | None = loop.time()
        self._heard: dict[str, float] = {}
        self._changed: dict[asyncio.Future[None], None] = {}  # in the order in which they came

    def heard(self, peer: str) -> None:
        """Something arrived from `peer`."""
        self._heard[peer] = self._loop.time()

    def changed(self) -> None:
        """Role, term or leader changed."""
        if self._engine.leader is not None:
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = self._loop.time()
        waiting, self._changed = self._changed, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def unreachable(self) -> list[str]:
        """Voters that cannot be reached, as far as this node can tell now."""
        missing = set(self._engine.unreachable())
        since = self._leaderless_since
        if since is not None and self._loop.time() - since > self._patience_s:
            silent_since = self._loop.time() - self._patience_s
            for name in self._engine.configuration.voters:
                if name != self._engine.name and self._heard.get(name, float("-inf")) < silent_since:
                    missing.add(name)
        return sorted(missing)

    def _refusal(self, *, read: bool) -> KvError | None:
        if self._engine.waits_for:
            return None  # the others are silent because nobody campaigns, not because they cannot be reached
        voters = self._engine.configuration.voters
        missing = self.unreachable()
        needed = majority(len(voters))
        if len(voters) - len(missing) >= needed:
            return None
        return outcomes.error(
            outcomes.NO_QUORUM,
            f"{len(missing)} of {len(voters)} voters cannot be reached ({', '.join(missing)}); {needed} are needed",
            read=read,
            required=needed,
            missing=tuple(missing),
        )

    async def wait(self, at: float, *, read: bool) -> None:
        """Return when a leader is known. Raises NoQuorum or NoLeader, at loop time `at` at the latest."""
        at = min(at, self._loop.time() + self._patience_s)
        while self._engine.leader is None:
            refusal = self._refusal(read=read)
            if refusal is not None:
                raise refusal
            await self.wait_change(at, read=read)

    async def wait_change(self, at: float, *, read: bool) -> None:
        """Return when role, term or leader changes; raises NoQuorum or NoLeader at loop time `at`."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._changed[future] = None
        try:
            await self._deadlines.wait(future, at)
        except Expired:
            missing = self.unreachable()
            why = "no leader was elected in time"
            if waits_for := self._engine.waits_for:
                why = f"the first election of a new cluster waits for {', '.join(waits_for)}"
            raise self._refusal(read=read) or outcomes.error(
                outcomes.NO_LEADER, why, read=read, missing=tuple(missing)
            ) from None
        finally:
            self._changed.pop(future, None)

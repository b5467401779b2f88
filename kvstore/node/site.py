"""What every service of a node stands on: the loop, deadlines, consensus, the calls to peers, and who leads."""

import asyncio
from typing import NamedTuple

from kvstore.consensus.engine import Engine
from kvstore.node.calls import Calls
from kvstore.node.deadlines import Deadlines
from kvstore.node.leadership import LeaderWatch


class Site(NamedTuple):
    """One node's surroundings, shared by its services."""

    loop: asyncio.AbstractEventLoop
    deadlines: Deadlines
    engine: Engine
    calls: Calls
    leaders: LeaderWatch

    def in_s(self, seconds: float) -> float:
        """The loop time in so many seconds."""
        return self.loop.time() + seconds

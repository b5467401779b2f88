"""A look at the node now and then, for what nobody would be told of otherwise: a leader that commits nothing although
entries wait, and members that hold different content at one log index. It changes nothing.
"""

import asyncio
from typing import Final

import structlog

from kvstore.node.service import Node

log = structlog.get_logger("kvstore.node")

LOOK_EVERY_S: Final = 1.0
# Members are asked for their digests, which they compute anyway, by whoever leads.
COMPARE_EVERY_S: Final = 15.0
# What is not committed for longer than this is told as a stall; a disk that is merely slow is not.
STALLED_S_MIN: Final = 2.0


class Lookout:
    """Runs on every node, looks on the leader."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._comparing: asyncio.Task[object] | None = None
        self._compared_s = loop.time()
        self._seen = (0, 0)
        self._since_s: float | None = None
        self._told = False

    @property
    def stalled_s(self) -> float:
        """For how long entries have been waiting here while none was committed."""
        return 0.0 if self._since_s is None else self._loop.time() - self._since_s

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    def close(self) -> None:
        """Stop."""
        for running in (self._timer, self._comparing):
            if running is not None:
                running.cancel()

    def _look(self) -> None:
        self.start()
        status = self._node.engine.status()
        now, seen = self._loop.time(), (status.term, status.commit_index)
        waits = self._node.engine.leads and status.last_index > status.commit_index
        if not waits or seen != self._seen or self._since_s is None:
            if self._told:
                self._node.trace.note("commit_resumed", stalled_s=round(self.stalled_s, 1))
            self._since_s = now if waits else None
            self._told = False
        elif self.stalled_s > STALLED_S_MIN and not self._told:
            self._told = True
            match = dict(status.match)
            self._node.trace.note("commit_stalled", commit=status.commit_index, last=status.last_index, match=match)
            log.warning("commit_stalled", commit=status.commit_index, last=status.last_index, match=match)
        self._seen = seen
        if self._node.engine.leads and now - self._compared_s > COMPARE_EVERY_S and self._comparing is None:
            self._compared_s = now
            self._comparing = self._loop.create_task(self._compare())

    async def _compare(self) -> None:
        try:
            await self._node.cluster()  # compares the digests of all who answer, and raises the alarm
        finally:
            self._comparing = None

"""Snapshots of this node's own, taken while it works: frames come from the state in small pieces on the loop, are
compressed and written off it, and only when the file is durable is the log cut.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import File
from kvstore.consensus.journal import Journal
from kvstore.consensus.snapshots import SnapshotInfo, SnapshotStore
from kvstore.errors import StorageFull
from kvstore.node.deadlines import Deadlines
from kvstore.state.machine import Machine

log = structlog.get_logger()

# Runs a blocking function elsewhere; a simulator runs it in place.
Offload = Callable[[Callable[[], Any]], Awaitable[Any]]


class Compaction:
    """Takes a snapshot when the log has grown by `log_bytes` since the last one. One at a time."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        journal: Journal,
        snapshots: SnapshotStore,
        log_bytes: int,
        offload: Offload,
        configuration_at: Callable[[int], Configuration],
        done: Callable[[SnapshotInfo], None],
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._journal = journal
        self._snapshots = snapshots
        self._log_bytes = log_bytes
        self._offload = offload
        self._configuration_at = configuration_at
        self._done = done
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._abandoned = False
        self._covered = info.index if (info := snapshots.latest()) is not None else 1
        self.taken_total = 0
        self.installed_total = 0
        self.failed_total = 0

    @property
    def uncovered_bytes(self) -> int:
        """How much log there is behind the newest snapshot."""
        newest = self._snapshots.latest()
        return self._journal.bytes_since(1 if newest is None else newest.index)

    def consider(self, machine: Machine) -> None:
        """Begin a snapshot of `machine` as it is now, if the log has grown enough."""
        if self._task is None and self._journal.bytes_since(self._covered) >= self._log_bytes:
            self._begin(machine)

    async def fresh(self, machine: Callable[[], Machine], at: float) -> tuple[SnapshotInfo, File]:
        """A snapshot of everything that is applied by now, and its file as it is stored, to be closed; by the active
        key, if there is one. One is taken unless the newest will do. Raises StorageFull, OSError, and Expired at loop
        time `at`; then what was begun goes on.
        """
        wanted = machine().applied_index
        while True:
            newest = self._snapshots.open_stored()
            if newest is not None:
                if newest[0].index >= wanted and self._snapshots.current:
                    return newest
                newest[1].close()
            if self._task is None:
                self._begin(machine())
            ended: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(ended)
            await self._deadlines.wait(ended, at)

    def _begin(self, machine: Machine) -> None:
        self._abandoned = False
        self._task = self._loop.create_task(self._take(machine))

    def installed(self, index: int) -> None:
        """A leader's snapshot took the place of the state: one of this node's own that is under way is pointless."""
        self._covered = max(self._covered, index)
        self._abandoned = True
        self.installed_total += 1

    async def _take(self, machine: Machine) -> None:
        failed: Exception | None = None
        try:
            info = await self._write(machine)
        except (OSError, StorageFull) as error:
            failed = error
            self.failed_total += 1
            log.warning("snapshot_failed", error=str(error))
            # Not again at once: a full disk does not become emptier by trying.
            self._covered = self._journal.entries[-1][1]
        else:
            if info is not None:
                self._covered = max(self._covered, info.index)
                self.taken_total += 1
                self._done(info)
        finally:
            self._task = None
            waiting, self._waiting = self._waiting, []
            for ended in waiting:
                if not ended.done():
                    ended.set_result(None) if failed is None else ended.set_exception(failed)

    async def _write(self, machine: Machine) -> SnapshotInfo | None:
        """The finished snapshot, or None if it was abandoned. Nothing is left of one that was not finished."""
        writer = self._snapshots.writer(
            machine.applied_index, machine.applied_term, self._configuration_at(machine.applied_index)
        )
        frames = machine.snapshot()
        try:
            for frame in frames:
                await self._offload(partial(writer.add, frame))
                if self._abandoned:
                    return None
            info: SnapshotInfo = await self._offload(writer.commit)
            return info
        finally:
            frames.close()
            writer.abort()

    async def close(self) -> None:
        """Give up a snapshot that is under way, once the piece that is being written is written."""
        self._abandoned = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

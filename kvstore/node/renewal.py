"""Whatever this node has written by another key than the active one goes away by itself, also if nobody writes.

The log and the intent log go on in a new segment at once. A snapshot by the active key is taken, and when those who
follow have had some time to get what is in the old segments, these are dropped, without the tail that is usually kept.
Until then `in_use` tells which keys are needed. Backups are no part of that.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from kvstore import limits
from kvstore.consensus.journal import Journal
from kvstore.consensus.segments import last_by_other_key
from kvstore.consensus.snapshots import SnapshotStore
from kvstore.errors import StorageFull
from kvstore.node.compaction import Compaction
from kvstore.node.deadlines import Expired
from kvstore.node.intents import IntentLog
from kvstore.state.machine import Machine
from kvstore.vault.envelope import Vault

log = structlog.get_logger()


class Renewal:
    """Of one node; does nothing without keys."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        vault: Vault,
        journal: Journal,
        intents: IntentLog,
        snapshots: SnapshotStore,
        compaction: Compaction,
        machine: Callable[[], Machine],
        on_failure: Callable[[Exception], None],
        settle_s: float = limits.ENCRYPTION_SETTLE_S,
    ) -> None:
        self._loop = loop
        self._vault = vault
        self._journal = journal
        self._intents = intents
        self._snapshots = snapshots
        self._compaction = compaction
        self._machine = machine
        self._on_failure = on_failure
        self._settle_s = settle_s
        self._rotated = asyncio.Event()
        self._since_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._complained = False

    def start(self) -> None:
        """Begin; what an earlier process left by other keys counts, too."""
        if self._vault.has_keys:
            self.rotated()
            self._task = self._loop.create_task(self._run())

    def rotated(self) -> None:
        """Another key is active."""
        self._since_s = self._loop.time()
        self._rotated.set()

    def close(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()

    def in_use(self) -> Mapping[int, int]:
        """How many files there are by the number of their key; 0 for those in clear."""
        files = Counter(segment.key_id for segment in (*self._journal.segments, *self._intents.segments))
        if (newest := self._snapshots.latest()) is not None:
            files[newest.key_id] += 1
        return files

    @property
    def done(self) -> bool:
        """Whether all files are by the active key."""
        return set(self.in_use()) == {self._vault.active}

    async def _run(self) -> None:
        while True:
            await self._rotated.wait()
            self._rotated.clear()
            if self.done:
                continue
            while not self.done:
                try:
                    await self._renew()
                except (StorageFull, OSError, Expired) as failed:
                    if not self._complained:
                        log.warning("renewal_waits", error=str(failed), active=self._vault.active)
                    self._complained = True
                except Exception as failed:  # a failed journal above all: the node must stop, not only this
                    self._on_failure(failed)
                    return
                # There is no event for all that it may wait for: room, entries that are applied, those who follow.
                await asyncio.sleep(limits.ENCRYPTION_RENEWAL_S)
            self._complained = False
            log.info("all_files_by_active_key", active=self._vault.active)

    async def _renew(self) -> None:
        self._journal.renew()
        self._intents.renew(self._vault.active)
        machine, behind = self._machine(), last_by_other_key(self._journal.segments, self._vault.active)
        newest = self._snapshots.latest()
        lacks = not self._snapshots.current or (behind and (newest is None or newest.index < behind))
        if lacks and machine.applied_index >= behind:
            at = self._loop.time() + limits.TIMEOUT_MS_MAX / 1000
            newest, file = await self._compaction.fresh(self._machine, at)
            file.close()
        if behind and newest is not None and self._loop.time() >= self._since_s + self._settle_s:
            self._journal.compact(min(behind, newest.index, machine.applied_index), 0)

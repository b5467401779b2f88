"""Backups that a node makes by itself, every so often, into a directory; the oldest beyond a number are removed.

Each is of what this node has applied, whether there is a leader or not. It gets its name once it is durable and was
read again: `<cluster id>-<node>-<log index>-<UTC time>.kvsnap`. Files with other names are never touched. Nothing is
written while nothing has been applied since the last one. What fails raises an alarm, and is tried again.
"""

import asyncio
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import structlog

from kvstore.consensus.disk import Disk, File
from kvstore.consensus.snapshots import check_snapshot
from kvstore.errors import CorruptData, KvError
from kvstore.model.levels import Level
from kvstore.node.alarms import BACKUP_FAILED, Alarm, Alarms
from kvstore.node.backups import Backup, Backups
from kvstore.node.compaction import Offload
from kvstore.vault.envelope import NO_KEYS, Vault

log = structlog.get_logger()

_SUFFIX: Final = ".kvsnap"
_TMP: Final = ".partial"
_TIME: Final = "%Y%m%dT%H%M%SZ"
_TAKE_S_MAX: Final = 600.0
_RETRY_S_MAX: Final = 60.0


class Schedule(NamedTuple):
    """Where, how often, and how many are kept."""

    directory: str
    every_s: float
    keep: int


class ScheduledBackups:
    """Runs from `start` to `close`. `wall_ms` is the wall clock."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        disk: Disk,
        schedule: Schedule,
        cluster_id: str,
        node: str,
        backups: Backups,
        alarms: Alarms,
        offload: Offload,
        wall_ms: Callable[[], int],
        vault: Vault = NO_KEYS,
    ) -> None:
        self._vault = vault
        self._loop = loop
        self._disk = disk
        self._schedule = schedule
        self._stem = f"{cluster_id}-{node}-"
        self._node = node
        self._backups = backups
        self._alarms = alarms
        self._offload = offload
        self._wall_ms = wall_ms
        self._pattern = re.compile(re.escape(self._stem) + r"([0-9]{20})-([0-9]{8}T[0-9]{6}Z)" + re.escape(_SUFFIX))
        self._task: asyncio.Task[None] | None = None
        self.made_total = 0
        self.failed_total = 0
        self.last_s = 0.0
        """When the newest was made, in seconds since 1970; 0 if there is none."""

    def start(self) -> None:
        """Begin."""
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Stop; one that is half written is removed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        every_s = self._schedule.every_s
        while True:
            failed: Exception | None = None
            try:
                due_s = await self._offload(self._due_s)
                if due_s > 0:
                    await asyncio.sleep(min(due_s, every_s))
                await self._make()
                self._alarms.clear(BACKUP_FAILED, self._node)
            except (OSError, KvError, CorruptData) as error:
                failed = error
            if failed is not None:
                self.failed_total += 1
                told = f"no backup into {self._schedule.directory}: {failed}"
                self._alarms.set(Alarm(BACKUP_FAILED, self._node, told))
                await asyncio.sleep(min(every_s, _RETRY_S_MAX))

    def _due_s(self) -> float:
        """How long to wait for the next one. Also removes what an earlier process left half written."""
        self._disk.mkdir(self._schedule.directory)
        for name in self._disk.list(self._schedule.directory):
            if name.startswith(self._stem) and name.endswith(_SUFFIX + _TMP):
                self._disk.remove(os.path.join(self._schedule.directory, name))
        made = self._made()
        if made:
            self.last_s = datetime.strptime(made[-1][1], _TIME).replace(tzinfo=UTC).timestamp()
        return self.last_s + self._schedule.every_s - self._wall_ms() / 1000

    def _made(self) -> list[tuple[int, str, str]]:
        """(log index, time, name) of those that are there, in this order."""
        found = (self._pattern.fullmatch(name) for name in self._disk.list(self._schedule.directory))
        return sorted((int(match[1]), match[2], match[0]) for match in found if match)

    async def _make(self) -> None:
        backup = await self._backups.take(Level.ONE, _TAKE_S_MAX)
        try:
            made = await self._offload(self._made)
            if made and made[-1][0] == backup.index:
                self.last_s = self._wall_ms() / 1000
                return
            await self._write(backup)
        finally:
            backup.close()
        self.made_total += 1
        self.last_s = self._wall_ms() / 1000
        await self._offload(self._remove_oldest)

    async def _write(self, backup: Backup) -> None:
        moment = datetime.fromtimestamp(self._wall_ms() / 1000, UTC).strftime(_TIME)
        path = os.path.join(self._schedule.directory, f"{self._stem}{backup.index:020d}-{moment}{_SUFFIX}")
        unfinished = path + _TMP
        file: File = await self._offload(partial(self._disk.open, unfinished, create=True))
        try:
            offset = 0
            while data := await backup.read(offset):
                await self._offload(partial(file.pwrite, data, offset))
                offset += len(data)
            await self._offload(file.sync)
            await self._offload(partial(check_snapshot, self._disk, unfinished, self._vault))
            await self._offload(partial(self._disk.rename, unfinished, path))
            await self._offload(partial(self._disk.sync_dir, self._schedule.directory))
        except BaseException:
            if self._disk.exists(unfinished):
                self._disk.remove(unfinished)
            raise
        finally:
            file.close()
        log.info("backup", path=path, bytes=backup.size)

    def _remove_oldest(self) -> None:
        for _, _, name in self._made()[: -self._schedule.keep]:
            self._disk.remove(os.path.join(self._schedule.directory, name))

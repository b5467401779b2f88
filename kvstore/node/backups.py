"""Backups: the state as one file, in the form of `kvstore.consensus.snapshots`, while the node works.

A backup is the node's newest snapshot, which is taken first if it does not cover what has been applied. So it is read
from the disk at the pace of whoever asked for it, and nothing waits for a slow reader. Writes at level ONE that no
leader has yet are not in it. It is encrypted, if snapshots are, by the key that is active on this node: whoever reads
it back needs that key.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from kvstore import limits
from kvstore.consensus.disk import File
from kvstore.consensus.snapshots import SnapshotInfo
from kvstore.errors import DeadlineExceeded, InternalError, Overloaded
from kvstore.model.levels import Level
from kvstore.node.compaction import Compaction, Offload
from kvstore.node.deadlines import Expired
from kvstore.node.site import Site
from kvstore.state.machine import Machine


class Backup:
    """One that is being read; close it."""

    def __init__(self, info: SnapshotInfo, file: File, offload: Offload, closed: Callable[[], None]) -> None:
        self.index, self.term, self.size = info.index, info.term, info.size
        self._file: File | None = file
        self._offload = offload
        self._closed = closed

    async def read(self, offset: int) -> bytes:
        """The next bytes from `offset` on; none at the end."""
        if self._file is None:
            raise ValueError("this backup was closed")
        data: bytes = await self._offload(partial(self._file.pread, limits.SNAPSHOT_CHUNK_BYTES, offset))
        return data

    def close(self) -> None:
        """It is not read any more. Harmless when repeated."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._closed()


class Backups:
    """Takes them, a few at a time. `catch_up` waits until this node has applied all that was acknowledged before."""

    def __init__(
        self,
        site: Site,
        compaction: Compaction,
        offload: Offload,
        machine: Callable[[], Machine],
        catch_up: Callable[[float], Awaitable[None]],
    ) -> None:
        self._site = site
        self._compaction = compaction
        self._offload = offload
        self._machine = machine
        self._catch_up = catch_up
        self._open = 0

    async def take(self, level: Level, timeout_s: float) -> Backup:
        """A backup with everything that was acknowledged before (QUORUM), or that this node has applied (ONE). Raises
        Overloaded, StorageFull, DeadlineExceeded.
        """
        if self._open >= limits.BACKUPS_MAX:
            raise Overloaded(f"{self._open} backups are being read from this node already", read=True)
        self._open += 1
        try:
            info, file = await self._fresh(level, self._site.in_s(timeout_s))
        except BaseException:
            self._ended()
            raise
        return Backup(info, file, self._offload, self._ended)

    async def _fresh(self, level: Level, at: float) -> tuple[SnapshotInfo, File]:
        try:
            if level is not Level.ONE:
                await self._catch_up(at)
            return await self._compaction.fresh(self._machine, at)
        except Expired:
            raise DeadlineExceeded("its snapshot was not written in time; it will be there soon", read=True) from None
        except OSError as failed:
            raise InternalError(f"the snapshot for it cannot be written: {failed}", read=True) from failed

    def _ended(self) -> None:
        self._open -= 1

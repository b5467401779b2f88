"""Power loss: what was not synced is gone. For one node, some, or all at once.

Before the load begins, the data directories of all nodes are moved onto file systems in images. Then, under load: all
victims are stopped (SIGSTOP), so that nothing more is answered; their images are copied; they are killed, and started
again on the copies. An fsync that a node has skipped really loses data here, while a mere SIGKILL loses nothing that
was written.

Where no image can be mounted the nodes hold back what is not synced (kvjepsen.held_disk), so that stopping and killing
them is all there is to do.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from kvcluster.image import Image, copy_tree
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import READY_S_MAX, Fault, Field, Struck

_IMAGE_BYTES: Final = 256 << 20
_ALL_SHARE: Final = 0.6


class Power(Fault):
    """All nodes, more often than not: what one has lost the others would give it back."""

    name = "power"
    title = "power loss: unsynced data is gone, for one node, some, or all"
    needs = frozenset({Need.PROCESSES, Need.UNSYNCED})
    nodes_min = 1

    def __init__(self) -> None:
        self._sockets: dict[str, _Held | _Socket] = {}

    @asynccontextmanager
    async def prepared(self, field: Field) -> AsyncIterator[None]:
        self._sockets = {name: (_Held if field.held_disks else _Socket)(field, name) for name in field.names}
        try:
            await _all(socket.plug_in() for socket in self._sockets.values())
            await field.blocking(field.cluster.wait_ready, field.names, READY_S_MAX)
            yield
        finally:
            await _all(socket.unplug() for socket in self._sockets.values())

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = field.names if field.rng.random() < _ALL_SHARE else field.minority()
        struck = Struck(victims, "disks that hold back" if field.held_disks else "", held_s=0.0)
        yield struck
        await asyncio.gather(*(field.blocking(field.cluster.pause, name) for name in victims))
        lost = await asyncio.gather(*(self._sockets[name].cut() for name in victims))
        struck.effects.append(f"{sum(lost)} nodes started on what had been synced")


class _Held:
    """A node that loses what it has not synced by itself."""

    def __init__(self, field: Field, name: str) -> None:
        self._field = field
        self._name = name

    async def plug_in(self) -> None:
        """It is."""

    async def cut(self) -> int:
        """The node is stopped: kill it, and start it on what it has synced. 1, to be counted."""
        await self._field.blocking(self._field.cluster.kill, self._name)
        await self._field.blocking(self._field.cluster.start, self._name)
        return 1

    async def unplug(self) -> None:
        """Nothing was done to it."""


class _Socket:
    """What one victim gets its power from, so to speak."""

    def __init__(self, field: Field, name: str) -> None:
        self._field = field
        self._name = name
        self._data = field.cluster.topology.data_dir(name)
        home = field.cluster.topology.home(name)
        self._aside = home / "data.aside"
        self._image: Image = Image(home / "disk.1", _IMAGE_BYTES)
        self._other = home / "disk.2"
        self._mounted = False

    async def plug_in(self) -> None:
        """Move the data directory onto an image."""
        await self._field.blocking(self._field.cluster.stop, self._name)
        await self._field.blocking(self._move_in)
        await self._field.blocking(self._field.cluster.start, self._name)

    def _move_in(self) -> None:
        self._image.make()
        self._data.rename(self._aside)
        self._data.mkdir(mode=0o700)
        self._mount(self._image)
        copy_tree(self._aside, self._data)

    def _mount(self, image: Image) -> None:
        image.mount(self._data)
        self._image, self._mounted = image, True

    def _unmount(self) -> None:
        self._image.unmount(self._data)
        self._mounted = False

    async def cut(self) -> int:
        """The node is stopped: take what its disk holds, kill it, and start it on that. 1, to be counted."""
        before = self._image
        copied = await self._field.blocking(before.copy, self._other)
        await self._field.blocking(self._field.cluster.kill, self._name)
        await self._field.blocking(self._unmount)
        await self._field.blocking(before.remove)
        await self._field.blocking(self._mount, copied)
        self._other = before.path
        await self._field.blocking(self._field.cluster.start, self._name)
        return 1

    async def unplug(self) -> None:
        """Back to a plain directory, with what is on the image now. The node stays stopped."""
        await self._field.blocking(self._field.cluster.stop, self._name)
        await self._field.blocking(self._move_out)

    def _move_out(self) -> None:
        if self._mounted:
            back = self._data.with_name("data.back")
            back.mkdir(mode=0o700)
            copy_tree(self._data, back)
            self._unmount()
            self._data.rmdir()
            back.rename(self._data)
            shutil.rmtree(self._aside)
        elif self._aside.exists():
            _restore(self._aside, self._data)
        self._image.remove()
        self._other.unlink(missing_ok=True)


def _restore(aside: Path, data: Path) -> None:
    """The move onto the image did not come to an end."""
    if data.exists():
        shutil.rmtree(data)
    aside.rename(data)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Every one to its end, whatever becomes of the others. Raises what the first of them did."""
    for end in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(end, BaseException):
            raise end

"""Watches: every change of a key, or of all keys with a prefix, once and in order, from a revision on.

W1. A watch tells the changes from its first revision on, as the state machine has applied them here: in the order of
    the revisions, and of the keys within one.
W2. What it told is never told again, and nothing is left out. Where that cannot be kept it ends, and says how to go on:
    `lagged`, because its reader took too long and the changes that wait for it became too many; `compacted`, because
    the history does not reach back to where it stands.
W3. A watch that begins in the past reads the history, some of it at a time, until it has come to the present. From then
    on every change is handed to those who asked for its key, and to nobody else: the cost of a write grows with them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple
from weakref import WeakSet

from kvstore import limits
from kvstore.errors import Compacted, Overloaded
from kvstore.model.results import Change
from kvstore.node.deadlines import Deadlines, Expired
from kvstore.state.history import RawChange
from kvstore.state.machine import Compacted as NotKept
from kvstore.state.machine import Machine
from kvstore.state.raw import record_of


class Watched(NamedTuple):
    """What a watch is of: one key, or all keys that begin with it."""

    key: bytes
    prefix: bool

    def matches(self, key: bytes) -> bool:
        """Whether a change of `key` belongs to it."""
        return key.startswith(self.key) if self.prefix else key == self.key


class Ended(NamedTuple):
    """Why a watch ended, and the revision from which another one can go on."""

    why: Literal["lagged", "compacted", "closed"]
    revision: int


class Watch:
    """One watch; made by `Watches.open`."""

    def __init__(self, watches: "Watches", watched: Watched, start: int) -> None:
        self.watched = watched
        self.revision = start - 1
        """Everything up to it has been told."""
        self.ended: Ended | None = None
        self._watches = watches
        self._queue: deque[RawChange] = deque()
        self._queue_bytes = 0
        self._wakes: asyncio.Future[None] | None = None
        self._live = False

    async def changes(self, at: float) -> list[Change] | Ended:
        """The next changes, whole revisions of them; none if there are none until loop time `at`. Then everything up to
        `revision` has been told.
        """
        while self.ended is None and not self._live:
            found = self._from_history()
            if found:
                return found
            await asyncio.sleep(0)
        if not self._queue and self.ended is None:
            await self._watches.wait(self, at)
        if self._queue:
            told = [_change(each) for each in self._queue]
            self._queue.clear()
            self._queue_bytes = 0
            self.revision = max(self.revision, told[-1].revision)
            return told
        if self.ended is not None:
            return self.ended
        self.revision = max(self.revision, self._watches.told)
        return []

    def close(self) -> None:
        """Nobody reads it any more. Harmless when repeated."""
        self._watches.leave(self)

    def _from_history(self) -> list[Change]:
        machine = self._watches.machine()
        try:
            slice_ = machine.changes(self.revision, limits.WATCH_SLICE_CHANGES_MAX)
        except NotKept as kept_from:
            self.end(Ended("compacted", kept_from.revision + 1))
            return []
        if not slice_:
            self._live = True
            self._watches.join(self)
            return []
        self.revision = slice_[-1][0]
        return [_change(each) for each in slice_ if self.watched.matches(each[1])]

    # -- called by Watches

    @property
    def queued(self) -> tuple[int, int | None]:
        """How many changes wait for the reader, and up to which revision it has been told all that it could have been;
        None if nothing waits.
        """
        if self._queue:
            return len(self._queue), self._queue[0][0] - 1
        return 0, None if self._live or self.ended is not None else self.revision

    def offer(self, change: RawChange) -> None:
        """A change that belongs to it was applied."""
        if self.ended is not None or change[0] <= self.revision:
            return
        self._queue_bytes += _size(change)
        self._queue.append(change)
        full = len(self._queue) > limits.WATCH_QUEUE_CHANGES_MAX or self._queue_bytes > limits.WATCH_QUEUE_BYTES_MAX
        if full and len(self._queue) > 1:
            first = self._queue[0][0]
            self._queue.clear()
            self.end(Ended("lagged", first))
        self.wake()

    def end(self, ended: Ended) -> None:
        """It tells no more."""
        if self.ended is None:
            self.ended = ended
            self._watches.leave(self)
            self.wake()

    def wake(self) -> None:
        """There is something to tell."""
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)

    def waiting(self, future: "asyncio.Future[None] | None") -> None:
        """Whom to wake."""
        self._wakes = future


class Watches:
    """All watches of this node. `applied` hands out what was applied since."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, machine: Callable[[], Machine]) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self.machine = machine
        self.told = machine().revision
        """Changes up to this revision have been handed to the watches that live in the present."""
        self._of_key: dict[bytes, dict[Watch, None]] = {}
        self._of_prefix: dict[bytes, dict[Watch, None]] = {}
        self._lengths: dict[int, int] = {}
        # Weakly: whoever opened one may have gone before it was read for the first time.
        self._all: WeakSet[Watch] = WeakSet()
        self.lagged_total = 0

    def __len__(self) -> int:
        return len(self._all)

    def open(self, watched: Watched, start: int) -> Watch:
        """A watch of the changes at revision `start` and above. Raises Compacted, or Overloaded."""
        if len(self._all) >= limits.WATCHES_MAX:
            raise Overloaded(f"{len(self._all)} watches are open on this node", read=True, retry_after_s=5.0)
        compacted = self.machine().compacted
        if start <= compacted:
            raise Compacted.at(compacted + 1, f"the history begins at revision {compacted + 1}")
        watch = Watch(self, watched, start)
        self._all.add(watch)
        return watch

    def waiting(self) -> tuple[int, int]:
        """How many changes wait for their readers, and how many revisions the slowest watch that has something to tell
        is behind.
        """
        changes = behind = 0
        revision = self.machine().revision
        for watch in list(self._all):
            queued, since = watch.queued
            changes += queued
            behind = max(behind, revision - since if since is not None else 0)
        return changes, behind

    async def wait(self, watch: Watch, at: float) -> None:
        """Return when `watch` has something to tell, or at loop time `at`."""
        future: asyncio.Future[None] = self._loop.create_future()
        watch.waiting(future)
        try:
            await self._deadlines.wait(future, at)
        except Expired:
            pass
        finally:
            watch.waiting(None)

    def join(self, watch: Watch) -> None:
        """`watch` has come to the present."""
        if watch.watched.prefix:
            prefix = watch.watched.key
            if prefix not in self._of_prefix:
                self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
            self._of_prefix.setdefault(prefix, {})[watch] = None
        else:
            self._of_key.setdefault(watch.watched.key, {})[watch] = None

    def leave(self, watch: Watch) -> None:
        """`watch` is over."""
        self._all.discard(watch)
        table = self._of_prefix if watch.watched.prefix else self._of_key
        same = table.get(watch.watched.key)
        if same is None or watch not in same:
            return
        del same[watch]
        if not same:
            del table[watch.watched.key]
            if watch.watched.prefix:
                length = len(watch.watched.key)
                self._lengths[length] -= 1
                if not self._lengths[length]:
                    del self._lengths[length]

    def applied(self) -> None:
        """Hand out what was applied since the last call."""
        machine = self.machine()
        if not self._of_key and not self._of_prefix:
            self.told = machine.revision
            return
        while self.told < machine.revision:
            try:
                changes = machine.changes(self.told, limits.WATCH_SLICE_CHANGES_MAX)
            except NotKept as kept_from:
                # A snapshot took the place of the state, and does not reach back to where the watches stand.
                self._end_all(Ended("compacted", kept_from.revision + 1))
                self.told = machine.revision
                return
            for change in changes:
                for watch in self._matching(change[1]):
                    watch.offer(change)
                    if watch.ended is not None:
                        self.lagged_total += 1
            self.told = changes[-1][0]

    def _matching(self, key: bytes) -> Iterator[Watch]:
        yield from list(self._of_key.get(key, ()))
        for length in list(self._lengths):
            if length <= len(key):
                yield from list(self._of_prefix.get(key[:length], ()))

    def _end_all(self, ended: Ended) -> None:
        for table in (self._of_key, self._of_prefix):
            for watch in [each for same in table.values() for each in same]:
                watch.end(ended)

    def close(self) -> None:
        """This node stops: every watch ends, and can go on elsewhere."""
        for watch in list(self._all):
            watch.end(Ended("closed", watch.revision + 1))


def _change(raw: RawChange) -> Change:
    revision, key, after, before, _ = raw
    return Change(
        revision, key, None if after is None else record_of(after), None if before is None else record_of(before)
    )


def _size(change: RawChange) -> int:
    return len(change[1]) + sum(len(record[0]) for record in change[2:4] if record is not None)

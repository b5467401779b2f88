"""Servers with a bug: each takes one promise away from a node of `kv`, and a run of the harness has to find it.

A mutant is a context manager that changes this process only. `kvjepsen.mutated` starts a node inside of one.
`MUTANTS` says with which workloads and faults each is looked for: those that it concerns. The seed is not chosen.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from unittest import mock

from kvjepsen.level_mutants import all_at_a_majority, quorum_read_here, sessions_without_answers
from kvjepsen.mutants import vote_forgotten
from kvjepsen.redis_mutants import gets_unasked, nothing_compared, watch_ignored
from kvjepsen.workloads import HTTP, REDIS
from kvstore.consensus import raft
from kvstore.consensus.disk import OsFile
from kvstore.consensus.journal import Journal
from kvstore.consensus.leading import Leadership
from kvstore.consensus.member import Member
from kvstore.http import ranges
from kvstore.model.commands import OP_PUT
from kvstore.model.results import APPLIED
from kvstore.model.transactions import TARGET_CREATE_REVISION
from kvstore.node import leases
from kvstore.node.reads import QuorumReads
from kvstore.node.watches import Watch
from kvstore.state import changes, operations, transacting
from kvstore.state.contents import Contents

Mutant = Callable[[], AbstractContextManager[None]]

# Bugs that strike some writes only are decided by the value, so that every replica has the same one.
_LOST_IN: Final = 40
_SWAPPED_IN: Final = 40
_UNTOLD_IN: Final = 40
_TAIL: Final = 3
_WELL_STARTED: Final = 40

_STOCK_FAULTS: Final = ("power", "kill-leader", "isolate-leader")


class Hunt(NamedTuple):
    """How a mutant is looked for."""

    workloads: tuple[str, ...]
    faults: tuple[str, ...]
    nodes: int = 3
    program: str = "kvjepsen.mutated"
    doors: tuple[str, ...] = (HTTP,)


@contextmanager
def stale_read() -> Iterator[None]:
    """A leader answers reads without asking whether it leads still."""

    def read_index(self: Member, done: Any) -> None:
        if self.leadership is None:
            whole(self, done)
        else:
            done(self._core.applied_index, None)

    whole = Member.read_index
    with mock.patch.object(Member, "read_index", read_index):
        yield


@contextmanager
def lost_write() -> Iterator[None]:
    """Of many writes one is acknowledged, and not made."""

    def written(contents: Contents, revision: int, key: bytes, value: bytes, old: Any, *others: Any) -> Any:
        version = whole(contents, revision, key, value, old, *others)
        if old is not None and _strikes(key, value, _LOST_IN):
            contents.records.put(key, old)
        return version

    whole = changes.write
    with mock.patch.object(changes, "write", written):
        yield


@contextmanager
def lost_tail() -> Iterator[None]:
    """A node that starts forgets the last entries of its log."""

    def opened(*arguments: Any, **named: Any) -> Journal:
        journal = whole(*arguments, **named)
        first, last = journal.entries[0][1], journal.entries[-1][1]
        if named.get("segment_bytes") and last - _TAIL > first:
            journal._commit_index = min(journal._commit_index, last - _TAIL)
            journal.truncate(last - _TAIL + 1)
        return journal

    whole = Journal.open
    with mock.patch.object(Journal, "open", opened):
        yield


@contextmanager
def commit_alone() -> Iterator[None]:
    """A leader takes every follower to have what it has itself: two leaders acknowledge side by side."""

    def match(self: Any, _node: Any) -> int:
        index: int = self._store.durable_index
        return index

    with mock.patch.object(raft._MatchIndex, "__getitem__", match):
        yield


@contextmanager
def dirty_read() -> Iterator[None]:
    """A write whose condition does not hold is refused, and made."""

    def put(contents: Contents, entry: operations.Entry, bound: str, key: bytes, value: bytes, *others: Any) -> Any:
        result = whole(contents, entry, bound, key, value, *others)
        if result.status != APPLIED:
            old = contents.records.get(key)
            changes.write(contents, contents.revision + 1, key, value, old, entry.stamp, entry.record_hash)
        return result

    whole = operations._DO[OP_PUT]
    with mock.patch.dict(operations._DO, {OP_PUT: put}):
        yield


@contextmanager
def condition_ignored() -> Iterator[None]:
    """A compare and set does not compare."""
    with mock.patch.object(operations, "_holds", return_value=True):
        yield


@contextmanager
def half_a_transaction() -> Iterator[None]:
    """A transaction changes the first key that it writes and was there before, and says that it changed all."""

    def written(contents: Contents, revision: int, key: bytes, value: bytes, old: Any, *others: Any) -> Any:
        if old is not None and contents.revision == revision:
            return old[3] + 1
        return changes.write(contents, revision, key, value, old, *others)

    with mock.patch.object(transacting, "changes", SimpleNamespace(write=written, bury=changes.bury)):
        yield


@contextmanager
def drifting_pages() -> Iterator[None]:
    """Each page of a range is of its own present: the cursor does not keep the revision of the first."""

    def cursor(options: Any, page: Any) -> Any:
        at = whole(options, page)
        return None if at is None else at._replace(revision=0)

    whole = ranges._cursor
    with mock.patch.object(ranges, "_cursor", cursor):
        yield


@contextmanager
def forgetful_watches() -> Iterator[None]:
    """Of forty revisions one is not told to the watches that live in the present."""

    def offer(self: Watch, change: Any) -> None:
        if change[0] % _UNTOLD_IN:
            whole(self, change)

    whole = Watch.offer
    with mock.patch.object(Watch, "offer", offer):
        yield


@contextmanager
def guard_ignored() -> Iterator[None]:
    """A transaction does not look at create_revision: who has lost a lock writes all the same."""

    def holds(record: Any, comparison: Any) -> bool:
        return comparison[0] == TARGET_CREATE_REVISION or whole(record, comparison)

    whole = transacting._holds
    with mock.patch.object(transacting, "_holds", holds):
        yield


@contextmanager
def short_leases() -> Iterator[None]:
    """A leader lets leases end when half of their time is over."""

    def renew(self: Any, lease: int, at: float) -> None:
        now = self._loop.time()
        whole(self, lease, now + (at - now) / 2)

    whole = leases._Timers.renew
    with mock.patch.object(leases._Timers, "renew", renew):
        yield


@contextmanager
def delete_undone() -> Iterator[None]:
    """What was deleted is there again after some more writes."""

    def buried(contents: Contents, revision: int, key: bytes, old: Any, *others: Any) -> None:
        if old is not None:
            grave.append([key, old, 5])
        bury(contents, revision, key, old, *others)

    def written(contents: Contents, *arguments: Any) -> Any:
        for entry in list(grave):
            entry[2] -= 1
            if entry[2] <= 0:
                grave.remove(entry)
                if contents.records.get(entry[0]) is None:
                    contents.records.put(entry[0], entry[1])
        return write(contents, *arguments)

    grave: list[list[Any]] = []
    bury, write = changes.bury, changes.write
    with mock.patch.object(changes, "bury", buried), mock.patch.object(changes, "write", written):
        yield


@contextmanager
def keys_swapped() -> Iterator[None]:
    """Of many writes one gets the value of the write before it, to another key."""

    def written(contents: Contents, revision: int, key: bytes, value: bytes, *others: Any) -> Any:
        struck = before and _strikes(key, value, _SWAPPED_IN)
        said, before[:] = (before[0] if struck else value), [value]
        return whole(contents, revision, key, said, *others)

    before: list[bytes] = []
    whole = changes.write
    with mock.patch.object(changes, "write", written):
        yield


@contextmanager
def all_but_one() -> Iterator[None]:
    """Level ALL is acknowledged when one voter is missing."""

    def behind(self: Leadership, index: int) -> list[str]:
        return whole(self, index)[1:]

    whole = Leadership.behind
    with mock.patch.object(Leadership, "behind", behind):
        yield


@contextmanager
def no_fsync() -> Iterator[None]:
    """Everything is acknowledged before it is on the disk."""
    with mock.patch.object(OsFile, "sync", return_value=None):
        yield


@contextmanager
def seldom_fsync() -> Iterator[None]:
    """A node that has started well syncs only every tenth time: the tail of what it acknowledged is in memory alone."""

    def sync(file: OsFile) -> None:
        syncs[0] += 1
        if syncs[0] < _WELL_STARTED or syncs[0] % 10 == 0:
            whole(file)

    syncs = [0]
    whole = OsFile.sync
    with mock.patch.object(OsFile, "sync", sync):
        yield


@contextmanager
def forgetful_session() -> Iterator[None]:
    """Every other QUORUM read is answered from here and now: a client sees what is older than what it saw."""

    async def index(self: QuorumReads, at: float) -> int:
        turns[0] += 1
        return self._engine.applied_index if turns[0] % 2 else await whole(self, at)

    turns = [0]
    whole = QuorumReads.index
    with mock.patch.object(QuorumReads, "index", index):
        yield


@contextmanager
def diverging_replica() -> Iterator[None]:
    """One node, the second, loses some writes."""
    with lost_write() if "n2" in sys.argv else nullcontext():
        yield


@contextmanager
def older_term_commit() -> Iterator[None]:
    """A leader commits what a majority has, also of an older term (figure 8 of the Raft paper)."""

    def replicate(self: Leadership, due: bool) -> None:
        core = self._context.core
        matches = [*(core.match(peer) for peer in self.peers), self._context.journal.durable_index]
        core.commit_index = max(core.commit_index, sorted(matches)[(len(matches) - 1) // 2])
        whole(self, due)

    whole = Leadership.replicate
    with mock.patch.object(Leadership, "replicate", replicate):
        yield


@contextmanager
def stock() -> Iterator[None]:
    """Not this store with a bug, but the published engine with its default settings behind the same API."""
    yield


def _strikes(key: bytes, value: bytes, one_in: int) -> bool:
    return zlib.crc32(key + b"=" + value) % one_in == 0


MUTANTS: Final[dict[str, tuple[Mutant, Hunt]]] = {
    "stale-read": (stale_read, Hunt(("register", "levels"), ("isolate-leader", "pause-leader"))),
    "lost-write": (lost_write, Hunt(("register", "append"), ("kill",))),
    "lost-tail": (lost_tail, Hunt(("register", "set", "counter"), ("kill-all",))),
    "two-leaders": (commit_alone, Hunt(("register", "set"), ("isolate-leader",))),
    "dirty-read": (dirty_read, Hunt(("register", "append"), ("kill",))),
    "double-apply": (sessions_without_answers, Hunt(("counter", "register"), ("kill-leader", "isolate-leader"))),
    "condition-ignored": (condition_ignored, Hunt(("register", "append"), ("kill",))),
    "delete-undone": (delete_undone, Hunt(("register", "mixed"), ("kill",))),
    "keys-swapped": (keys_swapped, Hunt(("register", "mixed"), ("kill",))),
    "all-at-a-majority": (all_at_a_majority, Hunt(("levels",), ("delay", "slow-fsync"))),
    "all-but-one": (all_but_one, Hunt(("levels",), ("delay", "slow-fsync"))),
    "no-fsync": (no_fsync, Hunt(("register", "set"), ("power",))),
    "seldom-fsync": (seldom_fsync, Hunt(("register", "set"), ("power",))),
    "vote-forgotten": (vote_forgotten, Hunt(("register", "set"), ("kill-all", "kill-leader"), 5)),
    "follower-read": (quorum_read_here, Hunt(("register", "levels"), ("isolate", "delay"))),
    "forgetful-session": (forgetful_session, Hunt(("register", "levels"), ("isolate", "delay"))),
    "diverging-replica": (diverging_replica, Hunt(("register", "mixed"), ("kill",))),
    "older-term-commit": (older_term_commit, Hunt(("register", "levels"), ("kill-leader", "kill-all", "stall"), 5)),
    "half-a-transaction": (half_a_transaction, Hunt(("bank",), ("kill",))),
    "drifting-pages": (drifting_pages, Hunt(("bank",), ("kill",))),
    "forgetful-watches": (forgetful_watches, Hunt(("watch",), ("kill",))),
    "guard-ignored": (guard_ignored, Hunt(("lock",), ("kill",))),
    "short-leases": (short_leases, Hunt(("lease",), ("kill",))),
    "watch-ignored": (watch_ignored, Hunt(("register",), ("kill",), doors=(REDIS,))),
    "nothing-compared": (nothing_compared, Hunt(("counter",), ("kill",), doors=(REDIS,))),
    "gets-unasked": (gets_unasked, Hunt(("register", "counter"), ("isolate", "delay"), doors=(REDIS,))),
    "stock": (stock, Hunt(("register", "set", "counter"), _STOCK_FAULTS, 3, "kvjepsen.stock_server")),
}

# What whole runs have not met so far: a schedule of its own brings it about (kvjepsen.figure8).
DIRECTED: Final = ("older-term-commit",)

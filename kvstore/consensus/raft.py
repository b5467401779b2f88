"""PySyncObj as a core without I/O: the only file that touches the library's private names.

`Core` is a SyncObj whose clock, randomness, log, network, state machine and snapshots are ours. It gives the private
parts plain names and replaces, whole, the handlers that the gate (`rules.py`) cannot put right from outside:

    __applyLogEntries     an exception while applying was retried at every tick; applying had no bound (fact 15)
    __sendAppendEntries   nothing bounded the bytes in flight; batches that cannot be read back; pickle (facts 6, 13)
    __tryLogCompaction    forked with threads, renamed without fsync, rewrote the journal in place (facts 2, 7, 12)
    __doApplyCommand      unpickled what the log held (fact 6)
    __loadDumpFile        ditto; went on with a corrupt snapshot; moved a follower backwards (facts 6, 7, 10, 11)
    __generateRaftTimeout took its randomness from the process

The names are checked by a test, which says what to do when the library changes.
"""

import random
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from pysyncobj import syncobj
from pysyncobj.node import Node
from pysyncobj.syncobj import SyncObj, SyncObjConf
from pysyncobj.transport import Transport as EngineTransport

FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2
ROLE_NAMES: Final = ("follower", "candidate", "leader")

# First byte of a log entry. 2 and 3 are the library's own pickled kinds: never written, refused from the wire.
REGULAR: Final = b"\x00"
NO_OP: Final = b"\x01"
CONFIGURATION: Final = b"\x04"
KINDS: Final = frozenset(REGULAR + NO_OP + CONFIGURATION)

PRIVATE_NAMES: Final = (
    "__raftState", "__raftCurrentTerm", "__votedForNodeId", "__raftLeader", "__raftElectionDeadline", "__raftLog",
    "__raftCommitIndex", "__raftLastApplied", "__raftNextIndex", "__raftMatchIndex", "__lastResponseTime",
    "__transferInProgress", "__needLoadDumpFile", "__otherNodes", "__readonlyNodes", "__connectedNodes",
    "__newAppendEntriesTime",
)  # fmt: skip
PRIVATE_METHODS: Final = (
    "__applyLogEntries", "__sendAppendEntries", "__tryLogCompaction", "__doApplyCommand", "__loadDumpFile",
    "__generateRaftTimeout", "__onMessageReceived", "__onNodeConnected", "__onNodeDisconnected", "__setCurrentTerm",
    "__setState",
)  # fmt: skip

_now_s = 0.0


def _engine_clock() -> float:
    """The library reads its clock as a module global; every entry into a Core sets the time first."""
    return _now_s


syncobj.monotonicTime = _engine_clock
syncobj.PIPE_NOTIFIER_ENABLED = False


class _Peer(Node):
    """A node whose hash does not change from process to process, so that sets of nodes keep one order."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hash = int.from_bytes(name.encode(), "big") % ((1 << 61) - 1)

    def __hash__(self) -> int:
        return self._hash


class _NoPoller:
    """The library polls its own sockets at the end of a tick; it has none here."""

    def poll(self, _timeout: float) -> None:
        """Nothing to wait for."""


class _Outbox(EngineTransport):
    """The library's network: everything it wants to send goes to the owner of the Core."""

    ready = True

    def __init__(self, sink: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(None, None, [])
        self._sink = sink

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._sink(node.id, message)
        return True

    def tryGetReady(self) -> None:  # noqa: N802 - the library's name
        """Always ready."""

    def destroy(self) -> None:
        """Nothing to close."""

    def addNode(self, node: Node) -> None:  # noqa: N802 - the library's name
        """Connections are the owner's."""

    def dropNode(self, node: Node) -> None:  # noqa: N802 - the library's name
        """Connections are the owner's."""


class LogStore(Protocol):
    """What the library's log is kept in (kvstore.consensus.journal)."""

    entries: list[tuple[bytes, int, int]]

    @property
    def term(self) -> int:
        """Current term."""

    @property
    def voted_for(self) -> str | None:
        """Vote in the current term."""

    @property
    def commit_index(self) -> int:
        """Highest index known to be committed."""

    @property
    def durable_index(self) -> int:
        """Highest index that is synced."""

    def append(self, command: bytes, index: int, term: int) -> None:
        """Add the entry at the end."""

    def truncate(self, index: int) -> None:
        """Drop entries from `index` on."""

    def set_term(self, term: int, voted_for: str | None) -> None:
        """Remember term and vote."""

    def set_commit(self, index: int) -> None:
        """Remember the commit index, lazily."""


class _EngineLog:
    """The library's journal interface over ours."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._store.append(command, idx, term)

    def __getitem__(self, item: Any) -> Any:
        return self._store.entries[item]

    def __len__(self) -> int:
        return len(self._store.entries)

    def deleteEntriesFrom(self, offset: int) -> None:  # noqa: N802 - the library's name
        self._store.truncate(self._store.entries[0][1] + offset)

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:  # noqa: N802 - the library's name
        self._store.set_term(term, voted_for)

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802 - the library's name
        self._store.set_commit(index)

    def onOneSecondTimer(self) -> None:  # noqa: N802 - the library's name
        """Nothing is written behind the step's back."""

    def _destroy(self) -> None:
        """Closed by its owner."""


class _MatchIndex(dict[Node, int]):
    """Match indices as the library's commit rule reads them.

    The library counts the leader among those that hold an entry; it does hold it only once its own fsync is done. So
    the one that holds most, `most`, is shown as holding no more than the leader: for what is not durable here, that is
    one voter less where one too many was counted.
    """

    def __init__(self, store: LogStore) -> None:
        super().__init__()
        self._store = store
        self.most: Node | None = None

    def __getitem__(self, node: Node) -> int:
        index = super().__getitem__(node)
        return min(index, self._store.durable_index) if node is self.most else index

    def find_most(self, voters: Collection[Node]) -> None:
        """Set it to that one of `voters`, the leader not among them."""
        self.most = max(voters, key=super().__getitem__, default=None)


class Hooks(Protocol):
    """What the owner of a Core does for it."""

    def engine_sent(self, peer: str, message: dict[str, Any]) -> None:
        """The engine wants `message` sent."""

    def append_due(self) -> None:
        """The engine wants append_entries sent to everybody: a heartbeat is due, or there is something to tell."""

    def apply_committed(self) -> None:
        """Apply entries behind `Core.applied_index` up to `Core.commit_index`, or some of them."""


class Core(SyncObj):
    """The engine, with names. The caller sets the time by `at()` before anything else in a step."""

    # The library walks over all attributes, properties too, before it has set this one.
    _SyncObj__newAppendEntriesTime = 0.0

    def __init__(
        self,
        *,
        name: str,
        store: LogStore,
        hooks: Hooks,
        rng: random.Random,
        heartbeat_s: float,
        election_s_min: float,
        election_s_max: float,
        applied_index: int,
        commit_index: int,
    ) -> None:
        self._hooks = hooks
        self._rng = rng
        self._election_s = (election_s_min, election_s_max)
        self._peers: dict[str, _Peer] = {}
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesPeriod=heartbeat_s,
            raftMinTimeout=election_s_min,
            raftMaxTimeout=election_s_max,
            leaderFallbackTimeout=election_s_min,  # R10
            connectionTimeout=max(3.5, 2 * election_s_max),
            dynamicMembershipChange=False,
            useFork=False,
        )
        super().__init__(_Peer(name), [], conf, transport=_Outbox(hooks.engine_sent))
        self._poller = _NoPoller()
        self._SyncObj__raftLog = _EngineLog(store)
        self._SyncObj__raftMatchIndex = self._match_index = _MatchIndex(store)
        self._SyncObj__raftCurrentTerm = store.term
        self._SyncObj__votedForNodeId = store.voted_for
        self._SyncObj__raftCommitIndex = commit_index
        self._SyncObj__raftLastApplied = applied_index
        self._SyncObj__needLoadDumpFile = False

    # -- replaced handlers (see the head of this file)

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        return self._rng.uniform(*self._election_s)

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        self._hooks.apply_committed()
        return False

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        self._SyncObj__newAppendEntriesTime = _now_s + self.conf.appendEntriesPeriod
        self._hooks.append_due()

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        pass

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802
        raise AssertionError("the engine must not apply commands by itself")

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: N802, N803
        raise AssertionError("the engine must not load snapshots by itself")

    def _checkCommandsToApply(self) -> None:  # noqa: N802
        pass

    # -- entering the engine

    def at(self, now_s: float) -> None:
        """Set the engine's clock, in monotonic seconds."""
        global _now_s
        _now_s = now_s

    def tick(self) -> None:
        """Election, commit, check-quorum, apply and append, as far as each is due."""
        if self.role == LEADER:
            self._match_index.find_most(self._SyncObj__otherNodes)
        self._onTick(0.0)

    def knows(self, peer: str) -> bool:
        """Whether `peer` is another member."""
        return peer in self._peers

    def meet(self, peer: str) -> None:
        """Someone speaks who is no member as far as this node's log tells; the log may be behind (Raft 6).

        It leads and campaigns like anybody, but counts nowhere: neither a voter nor a learner.
        """
        self._peers[peer] = _Peer(peer)

    def set_members(self, voters: Collection[str], learners: Collection[str]) -> None:
        """Take these others as voters, and as learners: the library's read-only nodes, which count in no quorum."""
        names = {*voters, *learners}
        for gone in self._peers.keys() - names:
            node = self._peers.pop(gone)
            self._SyncObj__connectedNodes.discard(node)
            for kept in (self._SyncObj__raftNextIndex, self._SyncObj__raftMatchIndex, self._SyncObj__lastResponseTime):
                kept.pop(node, None)
        for new in sorted(names - self._peers.keys()):
            node = self._peers[new] = _Peer(new)
            self._SyncObj__raftNextIndex[node] = self._SyncObj__raftLog[-1][1] + 1
            self._SyncObj__raftMatchIndex[node] = 0
            self._SyncObj__lastResponseTime[node] = _now_s
        self._SyncObj__otherNodes = {self._peers[name] for name in voters}
        self._SyncObj__readonlyNodes = {self._peers[name] for name in learners}

    def deliver(self, peer: str, message: dict[str, Any]) -> None:
        """Hand the engine a message that has passed the gate."""
        self._SyncObj__onMessageReceived(self._peers[peer], message)

    def connected(self, peer: str) -> None:
        """Messages to `peer` can be sent."""
        if peer in self._peers:
            self._SyncObj__onNodeConnected(self._peers[peer])

    def disconnected(self, peer: str) -> None:
        """They cannot."""
        if peer in self._peers:
            self._SyncObj__onNodeDisconnected(self._peers[peer])

    def step_down(self, term: int) -> None:
        """Become a follower of an unknown leader in `term`, which is not below the present one (Raft 5.1)."""
        if term > self.term:
            self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self.postpone_election()

    # -- state by plain names

    @property
    def role(self) -> int:
        """FOLLOWER, CANDIDATE or LEADER."""
        role: int = self._SyncObj__raftState
        return role

    @property
    def leader(self) -> str | None:
        """Name of the leader of the present term, as far as known."""
        node = self._SyncObj__raftLeader
        return None if node is None else node.id

    def forget_leader(self) -> None:
        """The leader has been silent for too long to be called one."""
        self._SyncObj__raftLeader = None

    @property
    def term(self) -> int:
        """Current term."""
        term: int = self._SyncObj__raftCurrentTerm
        return term

    @property
    def voted_for(self) -> str | None:
        """Vote in the current term."""
        vote: str | None = self._SyncObj__votedForNodeId
        return vote

    @property
    def commit_index(self) -> int:
        """Highest index known to be committed."""
        index: int = self._SyncObj__raftCommitIndex
        return index

    @commit_index.setter
    def commit_index(self, index: int) -> None:
        self._SyncObj__raftCommitIndex = index

    @property
    def applied_index(self) -> int:
        """Highest index applied."""
        index: int = self._SyncObj__raftLastApplied
        return index

    @applied_index.setter
    def applied_index(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    @property
    def election_deadline(self) -> float:
        """When a follower or candidate campaigns, in monotonic seconds."""
        deadline: float = self._SyncObj__raftElectionDeadline
        return deadline

    def postpone_election(self) -> None:
        """Set a fresh random deadline."""
        self._SyncObj__raftElectionDeadline = _now_s + self._rng.uniform(*self._election_s)

    def hasten_election(self, within_s: float) -> None:
        """Bring the deadline forward to a random moment within `within_s` seconds, if it is not earlier already."""
        soon = _now_s + self._rng.uniform(0.0, within_s)
        self._SyncObj__raftElectionDeadline = min(self._SyncObj__raftElectionDeadline, soon)

    def call_election(self) -> None:
        """Let the next tick campaign."""
        self._SyncObj__raftElectionDeadline = _now_s - 1.0
        self._SyncObj__transferInProgress = False

    @property
    def append_at(self) -> float:
        """When the next heartbeat is due, in monotonic seconds."""
        due: float = self._SyncObj__newAppendEntriesTime
        return due

    def match(self, peer: str) -> int:
        """The highest index known to be durable on `peer`, 0 if none."""
        return dict.get(self._SyncObj__raftMatchIndex, self._peers[peer], 0)

    def forget_match(self, peer: str) -> None:
        """Nothing is known to be durable on `peer` until it says so again."""
        self._SyncObj__raftMatchIndex[self._peers[peer]] = 0

    def raise_match(self, peer: str, index: int) -> None:
        """Match indices only grow while one process is at the other end."""
        node = self._peers[peer]
        if index > dict.get(self._SyncObj__raftMatchIndex, node, 0):
            self._SyncObj__raftMatchIndex[node] = index

    def next_index(self, peer: str) -> int:
        """The next index to send to `peer`."""
        index: int = self._SyncObj__raftNextIndex[self._peers[peer]]
        return index

    def set_next_index(self, peer: str, index: int) -> None:
        """Where to send from next."""
        self._SyncObj__raftNextIndex[self._peers[peer]] = index

    def heard_at(self, peer: str) -> float:
        """When the leader last heard an answer from `peer`, in monotonic seconds; 0 if never."""
        at: float = self._SyncObj__lastResponseTime.get(self._peers[peer], 0.0)
        return at

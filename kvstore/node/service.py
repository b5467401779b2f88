"""One node: the host of a member of the Raft group, put together with its services.

It owns the state machine. Everything that the log orders goes through `apply`. What the doors ask for is in
`kvstore.node.requests`; here are life and death, the engine's host and the transport's listener.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from kvstore.clock import Clock
from kvstore.consensus.configuration import Configuration, majority
from kvstore.consensus.context import RaftSettings
from kvstore.consensus.disk import Beside
from kvstore.consensus.engine import Peer, ProposalDone, Transport
from kvstore.consensus.member import Member
from kvstore.consensus.messages import CALLS, Call, Message, Return
from kvstore.consensus.snapshots import SnapshotInfo
from kvstore.errors import KvError
from kvstore.model import commands
from kvstore.model.levels import Level
from kvstore.model.results import ClusterView
from kvstore.node.alarms import Alarms
from kvstore.node.all_reads import AllReads
from kvstore.node.backups import Backup, Backups
from kvstore.node.batched_writes import BatchedWrites
from kvstore.node.boot import Bootstrap, Opened, first_configuration
from kvstore.node.calls import Calls
from kvstore.node.clock_watch import ClockWatch
from kvstore.node.compaction import Compaction, Offload
from kvstore.node.deadlines import Deadlines, Expired
from kvstore.node.drains import Drains
from kvstore.node.features import Features
from kvstore.node.forwarding import Forwarder
from kvstore.node.freshness import Freshness
from kvstore.node.hybrid_clock import HybridClock, resume_clock
from kvstore.node.intents import IntentLog
from kvstore.node.leadership import LeaderWatch
from kvstore.node.leases import LeaseKeeper
from kvstore.node.membership import Membership
from kvstore.node.overview import Overview
from kvstore.node.proposals import Proposals
from kvstore.node.reads import AppliedWaits, QuorumReads
from kvstore.node.receipts import Receipts
from kvstore.node.renewal import Renewal
from kvstore.node.requests import Requests
from kvstore.node.retirement import Retirement
from kvstore.node.site import Site
from kvstore.node.transactions import Transactions
from kvstore.node.watches import Watches
from kvstore.node.writes import Writes
from kvstore.state.machine import Machine
from kvstore.telemetry.slow import SlowRequests
from kvstore.telemetry.trace import ProtocolTrace

log = structlog.get_logger()


class ApplyFailed(Exception):
    """A committed entry could not be applied. Skipping it would make replicas differ, so the node stops."""


class Node(Requests):
    """Host of the engine (consensus.engine.Host), listener of the transport (TransportEvents), store of the doors."""

    def __init__(
        self,
        *,
        opened: Opened,
        settings: RaftSettings,
        clock: Clock,
        rng: random.Random,
        loop: asyncio.AbstractEventLoop,
        offload: Offload,
        beside: Beside,
        synced: Callable[[float], None],
        slow: SlowRequests | None = None,
        intents_synced: Callable[[float], None] = lambda _seconds: None,
        committed: Callable[[float], None] = lambda _seconds: None,
        on_members: Callable[[Configuration], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """`synced`, `intents_synced`, `committed` are told seconds: of a sync of the journal, of one of the level ONE
        writes, and from an entry's turn on the leader to its being applied there.
        """
        self.name = opened.identity.name
        self.trace = ProtocolTrace(self.name, clock.wall_ms)
        self._loop = loop
        self._wall_ms = clock.wall_ms
        self._machine = opened.machine
        self._on_failure = on_failure
        self._on_members = on_members
        self._applied_waits = AppliedWaits()
        self._revision_waits = AppliedWaits()
        self._drained_waits = AppliedWaits()
        self._reads_open = 0
        self._auth_waits = AppliedWaits()
        self._auth_revision = opened.machine.auth.revision
        self._auth_listeners: list[Callable[[], None]] = []
        self.deadlines = Deadlines(loop)
        self.engine = Member(
            name=self.name,
            settings=settings,
            clock=clock,
            rng=rng,
            loop=loop,
            journal=opened.journal,
            snapshots=opened.snapshots,
            host=self,
            applied_index=opened.machine.applied_index,
            initial=opened.initial,
            beside=beside,
            synced=synced,
            trace=self.trace.note,
        )
        self._calls = Calls(
            loop, self.deadlines, self.engine.send, first_id=rng.getrandbits(60), traces=self._traces, slow=slow
        )
        self._leaders = LeaderWatch(loop, self.deadlines, self.engine, patience_s=2 * settings.election_s_max)
        site = self._site = Site(loop, self.deadlines, self.engine, self._calls, self._leaders)
        self.alarms = Alarms()
        self._clock = HybridClock(clock, self.name, lambda: self._machine.clock_drift_ms_max)
        resume_clock(self._clock, opened)
        self._proposals = Proposals(loop, self.engine, self._clock.next, clock.wall_ms, clock.monotonic, committed)
        self._intents = IntentLog(
            journal=opened.intents,
            node=self.name,
            incarnation=opened.identity.incarnation,
            rng=rng,
            loop=loop,
            clock=self._clock,
            machine=lambda: self._machine,
            wake=lambda: self.forwarder.wake(),
            on_failure=self.failed,
            monotonic=clock.monotonic,
            synced=intents_synced,
        )
        self._intents.settle(opened.machine.applied_index, opened.journal.durable_commit)
        self.forwarder = Forwarder(
            site, self._proposals, self._intents, self._applied_waits, lambda: self._machine.mark(self.name)[0]
        )
        self._drains = Drains(site, self._intents, self._drained_waits)
        self._writes = Writes(site, self._proposals, self._drains, self._clock, Features(site, lambda: self._machine))
        self._batched_writes = BatchedWrites(site, self._proposals, self._drains, self._writes, self._clock)
        self.reads = QuorumReads(site)
        self._all_reads = AllReads(
            site, self._drains, self.reads, self._applied_waits, self.alarms, lambda: self._machine
        )
        self.transactions = Transactions(self._write)
        self.leases = LeaseKeeper(site, self._proposals, self._write, lambda: self._machine, self._catch_up)
        self.watches = Watches(loop, self.deadlines, lambda: self._machine)
        self._receipts = Receipts(site, self._intents, lambda: self._machine, self._catch_up)
        self._freshness = Freshness(site)
        self.clock_watch = ClockWatch(site, clock, self._clock, self.alarms, lambda: self._machine.clock_drift_ms_max)
        self._retirement = Retirement(site, self._drains, self._intents)
        self.membership = Membership(site, self._applied_waits, self._retirement, opened.identity.identity)
        self._overview = Overview(site, opened.identity.cluster_id, self._intents, self.alarms)
        self._overview.machine = opened.machine
        self.compaction = Compaction(
            loop=loop,
            deadlines=self.deadlines,
            journal=opened.journal,
            snapshots=opened.snapshots,
            log_bytes=settings.snapshot_log_bytes,
            offload=offload,
            configuration_at=self.engine.configuration_at,
            done=self._compacted,
        )
        self.renewal = Renewal(
            loop=loop,
            vault=opened.vault,
            journal=opened.journal,
            intents=self._intents,
            snapshots=opened.snapshots,
            compaction=self.compaction,
            machine=lambda: self._machine,
            on_failure=self.failed,
        )
        self.backups = Backups(site, self.compaction, offload, lambda: self._machine, self._catch_up)
        self._journal = opened.journal
        # A voter counts for level ALL, so what was acknowledged there is applied before it answers a read at level ONE:
        # all that it had committed when it stopped, and all that was committed before it became a voter.
        self._identity = opened.identity.identity
        self._named_voter = self._votes_in(opened.journal.configuration)
        self._serves_one_from = opened.journal.commit_index
        if not self._votes_in(self.engine.configuration_at(opened.journal.commit_index)):
            self._serves_one_from = opened.journal.configuration.index

    # -- life

    def start(self, transport: Transport, http: str) -> None:
        """Take part in the cluster by way of `transport`; clients reach this node at the URL `http`."""
        self._overview.http = http
        self.engine.start(transport)
        self.membership.start()
        self.clock_watch.start()
        self.forwarder.wake()
        self.renewal.start()

    @property
    def waits_to_join(self) -> bool:
        """Whether this node has not got any of the log of the cluster that it joins."""
        return self.engine.configuration.index == 0

    def hear_of_members(self, bootstrap: Bootstrap) -> None:
        """The members of the cluster that this node joins, as somebody told."""
        self.engine.hear_of_members(first_configuration(bootstrap))

    async def hand_over(self, timeout_s: float) -> None:
        """Give leadership away before stopping, if this node leads and another can take it, within `timeout_s`."""
        if not self.engine.leads:
            return
        future: asyncio.Future[KvError | None] = self._loop.create_future()
        self.engine.transfer(None, lambda error: None if future.done() else future.set_result(error))
        try:
            refused = await self.deadlines.wait(future, self._loop.time() + timeout_s)
            if refused is None:
                await self._leaders.wait(self._loop.time() + timeout_s, read=True)
        except (Expired, KvError) as gave_up:
            refused = gave_up
        log.info("handed_over", leader=self.engine.leader, refused=None if refused is None else str(refused))

    async def close(self) -> None:
        """Stop; requests that still wait end with their unknown outcome."""
        self.watches.close()
        self.leases.close()
        self.membership.close()
        self.clock_watch.close()
        self.forwarder.close()
        self._drains.close()
        self.engine.stop()
        self.renewal.close()
        await self.compaction.close()
        self._calls.close()
        self.deadlines.close()
        self._intents.close()
        self._journal.close()

    async def backup(self, *, level: Level, timeout_s: float) -> Backup:
        """A backup; see Store."""
        return await self.backups.take(level, timeout_s)

    # -- the cluster (kvstore.http.store.Store; the rest is in Requests)

    async def cluster(self) -> ClusterView:
        """The cluster as this node sees it now."""
        return await self._overview.view()

    async def add_member(self, name: str, peer: str, *, timeout_s: float) -> ClusterView:
        """Take `name` in as a learner; see Store."""
        await self.membership.add(name, peer, timeout_s)
        return await self._overview.view()

    async def remove_member(self, name: str, *, force: bool, timeout_s: float) -> tuple[ClusterView, int | None]:
        """Remove `name`; see Store."""
        lost = await self.membership.remove(name, timeout_s, force=force)
        return await self._overview.view(), lost

    async def transfer_leader(self, name: str | None, *, timeout_s: float) -> ClusterView:
        """Hand leadership to `name`; see Store."""
        await self.membership.transfer(name, timeout_s)
        await self._leaders.wait(self._loop.time() + timeout_s, read=True)
        return await self._overview.view()

    def ready(self) -> str | None:
        """None when a leader is known, and has named this node's directory: from then on it acts for it at level ONE,
        also after a restart on its own.
        """
        if self.engine.leader is not None:
            own = self.engine.configuration.member(self.name)
            unnamed = own is not None and not own.identity
            return "the leader has not named this node's directory yet" if unnamed else None
        if waits_for := self.engine.waits_for:
            return f"the first election of a new cluster waits for {', '.join(waits_for)}"
        missing = self._leaders.unreachable()
        voters = self.engine.configuration.voters
        if len(voters) - len(missing) < majority(len(voters)):
            return f"no quorum: {', '.join(missing)} cannot be reached"
        return "no leader is known"

    @property
    def machine(self) -> Machine:
        """The present state, for metrics and tests."""
        return self._machine

    @property
    def intents_pending(self) -> int:
        """How many writes at level ONE this node has acknowledged and not applied yet."""
        return len(self._intents)

    @property
    def intents_oldest_s(self) -> float:
        """For how long the oldest of them has been waiting, by the wall clock; 0 without any."""
        oldest = self._intents.oldest
        return 0.0 if oldest is None else max(0.0, (self._wall_ms() - oldest.stamp.ms) / 1_000)

    @property
    def proposals_waiting(self) -> int:
        """How many writes wait for the next log entry."""
        return len(self._proposals)

    @property
    def calls_pending(self) -> int:
        """How many requests of other nodes are being answered here."""
        return self._calls.served

    @property
    def journal_bytes(self) -> int:
        """How large the segments in use are."""
        return len(self._journal.segments) * self._journal.segment_bytes

    def trace_lines(self, since: int, limit: int) -> bytes:
        """What the protocol did; see Store."""
        return self.trace.lines(since, limit)

    def _traces(self, name: str) -> bool:
        peer = self.engine.peer(name)
        return peer is not None and peer.calls >= CALLS

    def unreachable(self) -> list[str]:
        """Voters that cannot be reached, as far as this node can tell now."""
        return self._leaders.unreachable()

    @property
    def writes_pending(self) -> tuple[int, int]:
        """How many writes of this node's clients wait for their level, and how many bytes they have."""
        return self._writes.open

    @property
    def reads_pending(self) -> int:
        """How many reads of this node's clients wait for a state that is fresh enough."""
        return self._reads_open

    # -- the engine's host

    def apply(self, index: int, term: int, command: bytes) -> Any:
        """Apply one entry of the log."""
        try:
            decoded = commands.decode(command)
            results = self._machine.apply(index, term, decoded)
        except Exception as error:
            shown = commands.shown_command(command)
            raise ApplyFailed(f"log index {index}, term {term}: {error!r}; the command is {shown}") from error
        if self._machine.auth.revision != self._auth_revision:
            self._auth_changed()
        self._overview.digests.note(self._machine)
        # Entry by entry: the next one may compact what this one has changed.
        self.watches.applied()
        origin = decoded.origin
        if origin is not None and origin.node == self.name and self._machine.mark(self.name) == (0, 0):
            self._intents.forgotten()
        return results

    def _auth_changed(self) -> None:
        """Users or roles are other ones: who is told must look again before anything else is answered."""
        self._auth_revision = self._machine.auth.revision
        for listener in self._auth_listeners:
            listener()
        self._auth_waits.reached(self._auth_revision)

    def skip(self, index: int, term: int) -> None:
        """An entry without effect on the state."""
        self._machine.skip(index, term)
        self._overview.digests.note(self._machine)

    def applied(self, index: int) -> None:
        """Wake who waited for it, and see whether the log is due to be cut."""
        self._clock.resume(*self._machine.last_stamp[:2])
        if self._intents.unsettled or self._machine.mark(self.name)[0] > self._intents.epoch:
            self._intents.settle(index, self._journal.durable_commit)
            self._drained_waits.reached(self._intents.drained_position)
        self._applied_waits.reached(index)
        self._revision_waits.reached(self._machine.revision)
        self.leases.applied()
        self.compaction.consider(self._machine)

    def proposals(self, *, full: bool) -> list[tuple[bytes, ProposalDone]]:
        """The writes that wait."""
        return [] if self.clock_watch.undecided else self._proposals.take(full=full)

    def restore(self, frames: Iterator[bytes]) -> None:
        """A leader's snapshot takes the place of the state."""
        loader = Machine.loader()
        for frame in frames:
            loader.add(frame)
        self._machine = self._overview.machine = loader.finish()
        self._overview.digests.clear()
        self.watches.applied()
        self._auth_changed()
        self.compaction.installed(self._machine.applied_index)

    def configuration_changed(self) -> None:
        """Other members: whoever keeps the connections is told."""
        configuration = self.engine.configuration
        was_voter, self._named_voter = self._is_voter, self._votes_in(configuration)
        if self._named_voter and not was_voter:
            self._serves_one_from = configuration.index
        self.trace.note("members", names=list(configuration.names), voters=list(configuration.voters))
        self._on_members(configuration)

    def _votes_in(self, configuration: Configuration) -> bool:
        """Whether `configuration` names this very directory as a voter's. One that was wiped and gets the log anew
        reads in it of a voter of its name, which it is not.
        """
        return any(
            member.voter and member.name == self.name and member.identity == self._identity
            for member in configuration.members
        )

    def leadership_changed(self) -> None:
        """Wake who waits for a leader, and pass on what could not be appended here."""
        status = self.engine.status()
        log.info("leadership", role=status.role, term=status.term, leader=status.leader)
        if not self.engine.leads:
            self._proposals.leadership_lost()
        self.clock_watch.leadership_changed()
        self.leases.leadership_changed()
        self._leaders.changed()
        if status.leader is not None:
            self._calls.leader_is(status.leader)

    def call(self, peer: str, message: Call | Return) -> None:
        """A message of a peer's service layer."""
        self._calls.received(peer, message)

    def failed(self, error: Exception) -> None:
        """The member stopped for good."""
        log.error("stopped", error=repr(error), exc_info=error)
        self._on_failure(error)

    def _compacted(self, info: SnapshotInfo) -> None:
        self.engine.compact(info)
        self.trace.note("snapshot_taken", index=info.index, bytes=info.size)
        log.info("snapshot", index=info.index, bytes=info.size)

    # -- the transport's listener

    def peer_connected(self, peer: Peer) -> None:
        """A connection to `peer` is up."""
        self._leaders.heard(peer.name)
        self.engine.peer_connected(peer)

    def peer_disconnected(self, name: str) -> None:
        """The connection to `name` is down."""
        self.engine.peer_disconnected(name)

    def peer_lost(self, name: str) -> None:
        """The connection from `name` was closed by it."""
        self.engine.peer_lost(name)

    def peer_gone(self, peer: str) -> None:
        """Answers from `peer` may never come."""
        self._calls.peer_gone(peer)

    def peer_message(self, name: str, message: Message) -> None:
        """A message arrived."""
        self._leaders.heard(name)
        self.engine.peer_message(name, message)

"""One node: the host of a member of the Raft group, and the store that the doors offer.

It owns the state machine. Everything that the log orders goes through `apply`; everything that is read comes from the
machine after the wait that its level asks for.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from kvstore.clock import Clock
from kvstore.consensus.configuration import Configuration, majority
from kvstore.consensus.context import RaftSettings
from kvstore.consensus.engine import Peer, ProposalDone, Transport
from kvstore.consensus.member import Member
from kvstore.consensus.messages import Call, Message, Return
from kvstore.consensus.snapshots import SnapshotInfo
from kvstore.errors import BadRequest, DeadlineExceeded, KvError, NotFound, Overloaded, PreconditionFailed
from kvstore.limits import RANGE_PAGE_BYTES_MAX, READS_PENDING_MAX
from kvstore.model import commands
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import NOT_FOUND, PRECONDITION_FAILED, ClusterView, RangeAnswer, ReadAnswer, WriteAnswer
from kvstore.model.stamp import Stamp
from kvstore.node.boot import Bootstrap, Opened, first_configuration
from kvstore.node.calls import Calls
from kvstore.node.compaction import Compaction, Offload
from kvstore.node.deadlines import Deadlines, Expired
from kvstore.node.leadership import LeaderWatch
from kvstore.node.membership import Membership
from kvstore.node.overview import Overview
from kvstore.node.reads import AppliedWaits, QuorumReads
from kvstore.node.writes import Writes, Written
from kvstore.state.machine import Machine

log = structlog.get_logger()


class ApplyFailed(Exception):
    """A committed entry could not be applied. Skipping it would make replicas differ, so the node stops."""


class Node:
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
        synced: Callable[[float], None],
        on_members: Callable[[Configuration], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.name = opened.identity.name
        self._loop = loop
        self._machine = opened.machine
        self._on_failure = on_failure
        self._on_members = on_members
        self._applied_waits = AppliedWaits()
        self._revision_waits = AppliedWaits()
        self._reads_open = 0
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
            synced=synced,
        )
        self._calls = Calls(loop, self.deadlines, self.engine.send, first_id=rng.getrandbits(60))
        self._leaders = LeaderWatch(loop, self.deadlines, self.engine, patience_s=2 * settings.election_s_max)
        self._writes = Writes(
            loop=loop,
            clock=clock,
            deadlines=self.deadlines,
            engine=self.engine,
            calls=self._calls,
            leaders=self._leaders,
        )
        self.reads = QuorumReads(
            loop=loop, deadlines=self.deadlines, engine=self.engine, calls=self._calls, leaders=self._leaders
        )
        self.membership = Membership(
            loop=loop,
            deadlines=self.deadlines,
            engine=self.engine,
            calls=self._calls,
            leaders=self._leaders,
            applied=self._applied_waits,
            identity=opened.identity.identity,
        )
        self._overview = Overview(
            loop=loop,
            cluster_id=opened.identity.cluster_id,
            engine=self.engine,
            calls=self._calls,
        )
        self._overview.machine = opened.machine
        self.compaction = Compaction(
            loop=loop,
            journal=opened.journal,
            snapshots=opened.snapshots,
            log_bytes=settings.snapshot_log_bytes,
            offload=offload,
            configuration_at=self.engine.configuration_at,
            done=self._compacted,
        )
        self._journal = opened.journal
        # A voter counts for level ALL, so what was acknowledged there is applied before it answers a read at level ONE:
        # all that it had committed when it stopped, and all that was committed before it became a voter.
        self._is_voter = self.name in opened.journal.configuration.voters
        self._serves_one_from = opened.journal.commit_index
        if self.name not in self.engine.configuration_at(opened.journal.commit_index).voters:
            self._serves_one_from = opened.journal.configuration.index

    # -- life

    def start(self, transport: Transport, http: str) -> None:
        """Take part in the cluster by way of `transport`; clients reach this node at the URL `http`."""
        self._overview.http = http
        self.engine.start(transport)
        self.membership.start()

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
        self.membership.close()
        self.engine.stop()
        await self.compaction.close()
        self._calls.close()
        self.deadlines.close()
        self._journal.close()

    # -- the store (kvstore.http.store.Store)

    async def put(
        self, key: bytes, value: bytes, *, level: Level, condition: int | None, timeout_s: float
    ) -> WriteAnswer:
        """Write `value`; see Store."""
        written = await self._write(commands.put(key, value, condition), level, timeout_s)
        return self._answer(key, level, written)

    async def delete(self, key: bytes, *, level: Level, condition: int | None, timeout_s: float) -> WriteAnswer:
        """Delete `key`; see Store."""
        written = await self._write(commands.delete(key, condition), level, timeout_s)
        if written.result.status == NOT_FOUND:
            raise NotFound("the key is absent", level=level)
        return self._answer(key, level, written)

    async def _write(self, op: Op, level: Level, timeout_s: float) -> Written:
        if level is Level.ONE:
            raise BadRequest("writes at level one are not available yet; use quorum or all", level=level)
        written = await self._writes.write(op, level, timeout_s)
        if written.result.status == PRECONDITION_FAILED:
            now = written.result.revision
            raise PreconditionFailed(
                f"the key's mod_revision is {now}" if now else "the key is absent",
                level=level,
                leader=self.engine.leader,
            )
        return written

    def _answer(self, key: bytes, level: Level, written: Written) -> WriteAnswer:
        result = written.result
        return WriteAnswer(
            key, result.revision, result.version, level, written.required, written.acked, "committed", None
        )

    async def get(self, key: bytes, *, level: Level, min_revision: int | None, timeout_s: float) -> ReadAnswer:
        """Read `key`; see Store."""
        await self._freshen(level, min_revision, timeout_s)
        machine = self._machine
        return ReadAnswer(
            machine.get(key), machine.revision, machine.applied_index, self.engine.leader, machine.last_stamp
        )

    async def range(
        self,
        start: bytes,
        end: bytes | None,
        *,
        level: Level,
        limit: int,
        after: bytes | None,
        reverse: bool,
        timeout_s: float,
    ) -> RangeAnswer:
        """Read a page; see Store."""
        await self._freshen(level, None, timeout_s)
        machine = self._machine
        records, count, following = machine.range(
            start, end, limit=limit, after=after, bytes_max=RANGE_PAGE_BYTES_MAX, reverse=reverse
        )
        return RangeAnswer(
            machine.revision, count, records, following, machine.applied_index, self.engine.leader, machine.last_stamp
        )

    async def _freshen(self, level: Level, min_revision: int | None, timeout_s: float) -> None:
        """Wait until the applied state is as fresh as `level` asks, and has reached `min_revision`."""
        serves_one = self._is_voter and self._serves_one_from <= self._machine.applied_index
        if level is Level.ONE and serves_one and (min_revision is None or min_revision <= self._machine.revision):
            return
        if self._reads_open >= READS_PENDING_MAX:
            raise Overloaded(f"{self._reads_open} reads are waiting already", read=True, level=level, retry_after_s=1.0)
        self._reads_open += 1
        try:
            await self._wait_fresh(level, min_revision, self._loop.time() + timeout_s)
        finally:
            self._reads_open -= 1

    async def _wait_fresh(self, level: Level, min_revision: int | None, at: float) -> None:
        if level is Level.QUORUM or not self._is_voter:
            await self._reach(self._applied_waits, await self.reads.index(at), self._machine.applied_index, at)
        elif level is Level.ONE:
            await self._reach(self._applied_waits, self._serves_one_from, self._machine.applied_index, at)
        elif level is Level.ALL:
            raise BadRequest("reads at level all are not available yet; use one or quorum", read=True, level=level)
        if min_revision is not None:
            await self._reach(self._revision_waits, min_revision, self._machine.revision, at)

    async def _reach(self, waits: AppliedWaits, wanted: int, present: int, at: float) -> None:
        if wanted <= present:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        waits.add(wanted, future)
        try:
            await self.deadlines.wait(future, at)
        except Expired:
            waits.forget()
            raise DeadlineExceeded("this node did not catch up in time", read=True) from None

    async def cluster(self) -> ClusterView:
        """The cluster as this node sees it now."""
        return await self._overview.view()

    async def add_member(self, name: str, peer: str, *, timeout_s: float) -> ClusterView:
        """Take `name` in as a learner; see Store."""
        await self.membership.add(name, peer, timeout_s)
        return await self._overview.view()

    async def remove_member(self, name: str, *, timeout_s: float) -> ClusterView:
        """Remove `name`; see Store."""
        await self.membership.remove(name, timeout_s)
        return await self._overview.view()

    async def transfer_leader(self, name: str | None, *, timeout_s: float) -> ClusterView:
        """Hand leadership to `name`; see Store."""
        await self.membership.transfer(name, timeout_s)
        await self._leaders.wait(self._loop.time() + timeout_s, read=True)
        return await self._overview.view()

    def ready(self) -> str | None:
        """None when a leader is known and this node is not far behind it."""
        if self.engine.leader is not None:
            return None
        if waits_for := self.engine.waits_for:
            return f"the first election of a new cluster waits for {', '.join(waits_for)}"
        missing = self._leaders.unreachable()
        voters = self.engine.configuration.voters
        if len(voters) - len(missing) < majority(len(voters)):
            return f"no quorum: {', '.join(missing)} cannot be reached"
        return "no leader is known"

    def stamp(self) -> Stamp:
        """The highest stamp this node has applied."""
        return self._machine.last_stamp

    @property
    def machine(self) -> Machine:
        """The present state, for metrics and tests."""
        return self._machine

    # -- the engine's host

    def apply(self, index: int, term: int, command: bytes) -> Any:
        """Apply one entry of the log."""
        try:
            results = self._machine.apply(index, term, commands.decode(command))
        except Exception as error:
            raise ApplyFailed(f"log index {index}, term {term}: {error!r}; the command is {command[:200]!r}") from error
        self._overview.digests.note(self._machine)
        return results

    def skip(self, index: int, term: int) -> None:
        """An entry without effect on the state."""
        self._machine.skip(index, term)
        self._overview.digests.note(self._machine)

    def applied(self, index: int) -> None:
        """Wake the reads that waited for it, and see whether the log is due to be cut."""
        self._applied_waits.reached(index)
        self._revision_waits.reached(self._machine.revision)
        self.compaction.consider(self._machine)

    def proposals(self, *, full: bool) -> list[tuple[bytes, ProposalDone]]:
        """The writes that wait."""
        return self._writes.proposals(self._machine.last_stamp, full=full)

    def restore(self, frames: Iterator[bytes]) -> None:
        """A leader's snapshot takes the place of the state."""
        loader = Machine.loader()
        for frame in frames:
            loader.add(frame)
        self._machine = self._overview.machine = loader.finish()
        self._overview.digests.clear()
        self.compaction.installed(self._machine.applied_index)

    def configuration_changed(self) -> None:
        """Other members: whoever keeps the connections is told."""
        configuration = self.engine.configuration
        was_voter, self._is_voter = self._is_voter, self.name in configuration.voters
        if self._is_voter and not was_voter:
            self._serves_one_from = configuration.index
        self._on_members(configuration)

    def leadership_changed(self) -> None:
        """Wake who waits for a leader, and pass on what could not be appended here."""
        status = self.engine.status()
        log.info("leadership", role=status.role, term=status.term, leader=status.leader)
        if not self.engine.leads:
            self._writes.leadership_lost()
        self._leaders.changed()

    def call(self, peer: str, message: Call | Return) -> None:
        """A message of a peer's service layer."""
        self._calls.received(peer, message)

    def failed(self, error: Exception) -> None:
        """The member stopped for good."""
        log.error("stopped", error=repr(error), exc_info=error)
        self._on_failure(error)

    def _compacted(self, info: SnapshotInfo) -> None:
        self.engine.compact(info)
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

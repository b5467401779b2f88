"""One member of the Raft group: the engine, its gate, the journal and the network, driven in steps.

The contract of a step, in this order:

1. Take in what arrived: messages (through the gate) and connections.
2. Advance the core: election (held by R8), commit, check-quorum, apply.
3. Take in proposals: everything that arrived in one turn of the loop becomes one entry (a few if large).
4. Send append_entries. They lie in a term that is durable: this node leads because its vote for itself was. The leader
   counts itself by its durable index, so that sending before its own fsync promises nothing.
5. Sync the journal: one group with term, vote, truncations and entries. If that fails, what was held is discarded and
   the node stops. If there is no room, what was held is discarded and the step waits here until there is. A leader that
   has only entries to write, and nothing held, lets its disk work beside the loop and those of the others (Raft thesis,
   10.2.1): its own copy counts once it is durable, and a step follows.
6. Send everything else: vote requests and grants, answers to appends and snapshots.
   (ReadIndex rounds and pre-votes promise nothing and go at once.)
7. Resolve who waits: proposals that were applied, reads that were confirmed, level ALL writes that every voter has.

A step runs on the event loop, is started by an arrival or a deadline, and is never entered twice.
"""

import random
from collections.abc import Callable
from typing import Any

from kvstore import limits, outcomes
from kvstore.clock import Clock
from kvstore.consensus import messages as wire
from kvstore.consensus.applying import Applier
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.configuration import Member as Seat
from kvstore.consensus.context import Context, RaftSettings
from kvstore.consensus.disk import Beside
from kvstore.consensus.elections import Elections
from kvstore.consensus.engine import AllDone, Host, Loop, Objection, Peer, ProposalDone, ReadDone, Transport
from kvstore.consensus.following import EngineFault, Following
from kvstore.consensus.founding import Founding
from kvstore.consensus.freshness import Fresher, TokenClock
from kvstore.consensus.handover import Handover, best_target
from kvstore.consensus.journal import Journal
from kvstore.consensus.leading import Leadership
from kvstore.consensus.outlook import Outlook
from kvstore.consensus.pending import Pending
from kvstore.consensus.proposing import Proposing
from kvstore.consensus.raft import LEADER, Core
from kvstore.consensus.seats import Seats
from kvstore.consensus.snapshots import SnapshotInfo, SnapshotStore
from kvstore.consensus.syncing import Syncing
from kvstore.consensus.tracing import trace_change, why_it_ends
from kvstore.errors import NoLeader, StorageFull
from kvstore.telemetry.trace import Trace, untraced


class Member(Outlook):
    """The engine as the service layer sees it (consensus.engine.Engine). All calls on the event loop."""

    def __init__(
        self,
        *,
        name: str,
        settings: RaftSettings,
        clock: Clock,
        rng: random.Random,
        loop: Loop,
        journal: Journal,
        snapshots: SnapshotStore,
        host: Host,
        applied_index: int,
        initial: Configuration,
        beside: Beside,
        synced: Callable[[float], None],
        trace: Trace = untraced,
    ) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._loop = loop
        self._journal = journal
        self._rng = rng
        self._host = host
        self._context = context = Context(name, settings, journal, snapshots)
        context.trace = trace
        self._founding = Founding(context, incomplete=settings.bootstrap_incomplete)
        self._elections = Elections(context, self._founding)
        self._syncing = Syncing(context, clock, beside, synced, self.kick)
        self._seats = Seats(context, initial, self._members_changed)
        self._following = Following(context, self._elections.leader_heard, self._seats.refold, self._install)
        self.leadership = None
        self._inbox: list[tuple[str, wire.Message]] = []
        self._pending = Pending()
        self._proposing = Proposing(context, host, self._pending)
        self._applier = Applier(context, clock, host, self._pending)
        self._handover: Handover | None = None
        self._append_due = False
        self._stalled = False
        self._stall_timer: Any = None
        self._scheduled = False
        self._timer: Any = None
        self._timer_at = 0.0
        self._stopped = False
        self._seen: tuple[int, int, str | None] = (0, 0, None)
        self.leader_changes_total = 0
        self._reads_before = (0, 0)
        self._fresher = Fresher()
        self._core = context.core = Core(
            name=name,
            store=journal,
            hooks=self,
            rng=rng,
            heartbeat_s=settings.heartbeat_s,
            election_s_min=settings.election_s_min,
            election_s_max=settings.election_s_max,
            applied_index=applied_index,
            commit_index=max(journal.commit_index, applied_index),
        )
        self._seats.take()

    # -- what the service layer asks

    def read_index(self, done: ReadDone) -> None:
        """Confirm this leadership after now: `done(index, None)`, or `done(0, error)` if it cannot be."""
        if self.leadership is None:
            done(0, NoLeader("this node does not lead", read=True))
            return
        self.leadership.read(done)
        self.kick()

    def tell_commit(self) -> None:
        """A follower is to hear of the commit index now, if this node leads."""
        if self.leadership is not None:
            self.leadership.tell_commit()
            self.kick()

    def when_fresher(self, than_s: float, done: Callable[[], None]) -> None:
        """Call `done` once the applied state is at most `than_s` old; never, if it does not become so."""
        self._fresher.add(than_s, done)
        self.kick()

    def forget_fresher(self, done: Callable[[], None]) -> None:
        """Nobody waits for that any more."""
        self._fresher.forget(done)

    def when_all_have(self, index: int, done: AllDone) -> None:
        """Call `done` once every voter has applied `index` and made its commit durable, or with an error."""
        if self.leadership is None:
            done(NoLeader("this node does not lead"))
            return
        self.leadership.when_all_have(index, done)
        self.kick()

    def transfer(self, target: str | None, done: AllDone) -> None:
        """Hand leadership to `target`, or to whom is most current; `done(None)` once this node leads no more."""
        self._enter()
        if self.leadership is None or self._handover is not None:
            done(NoLeader("this node does not lead" if self.leadership is None else "a transfer is under way"))
            return
        target = target or best_target(self._context, self.leadership)
        if target not in self.leadership.peers:
            done(NoLeader("there is no other voter to hand over to"))
            return
        self._handover = Handover(self._context, self.leadership, target, done)
        self._context.trace("handover", term=self._core.term, to=target)
        self.kick()

    def change(self, members: tuple[Seat, ...], done: ProposalDone) -> Objection | None:
        """Append a configuration with these members, effective at once (M1); why not, if it cannot begin (M2, M3)."""
        self._enter()
        why_not = self._seats.change(members, self._pending, done, leads=self.leads)
        self.kick()
        return why_not

    def hear_of_members(self, configuration: Configuration) -> None:
        """What a node that joins is told by others, until its own log tells."""
        self._seats.hear(configuration)

    def send(self, peer: str, message: wire.Call | wire.Return) -> bool:
        """A message between service layers; False if there is no connection."""
        return self._context.transport.send(peer, message)

    # -- what the transport tells (TransportEvents)

    def peer_connected(self, peer: Peer) -> None:
        """Messages to `peer` can be sent from now on."""
        self._enter()
        self._core.connected(peer.name)
        if self._founding.heard(peer):
            self._elections.founded()
        if self.leadership is not None:
            self.leadership.connected(peer.name)
            self._append_due = True
        self.kick()

    def peer_disconnected(self, name: str) -> None:
        """The outgoing connection is gone, with whatever was on it."""
        self._core.disconnected(name)
        self._host.peer_gone(name)

    def peer_lost(self, name: str) -> None:
        """The incoming connection was closed by the other side."""
        if name == self._core.leader:
            self._enter()
            self._elections.leader_lost()
            self.kick()
        self._host.peer_gone(name)

    def peer_message(self, name: str, message: wire.Message) -> None:
        """A validated message. Service calls pass at once, the rest waits for the next step."""
        if isinstance(message, wire.Call | wire.Return):
            self._host.call(name, message)
            return
        self._inbox.append((name, message))
        if len(self._inbox) >= limits.INBOX_MESSAGES_MAX:
            self._step()
        else:
            self.kick()

    # -- scheduling

    def start(self, transport: Transport) -> None:
        """Begin to take part, by way of `transport`. The first election comes after a whole timeout, unless this is the
        only voter.
        """
        self._context.transport = transport
        self._enter()
        self._context.tokens = TokenClock(self._context.now_s, self._rng.getrandbits(40))
        self._core.postpone_election()
        if self._context.voters == (self.name,):
            self._core.call_election()
        self.kick()

    def stop(self) -> None:
        """Take no further step. What was not synced is as lost as by a crash."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._following.abandon()
        if self.leadership is not None:
            self._end_leadership(self.leadership)

    def kick(self) -> None:
        """Step after the present callbacks of the loop, so that what arrives together is handled together."""
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _schedule_deadline(self) -> None:
        core = self._core
        lead = self.leadership
        due = min(core.append_at, lead.append_at) if lead is not None else core.election_deadline
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        delay = max(due - self._context.now_s, 0.0) + 0.001
        self._timer_at = due
        self._timer = self._loop.call_later(delay, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._timer = None
        self._step()

    # -- the step

    def _step(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        try:
            self._enter()
            if self._stalled:
                self._sync()
                self._stalled = False
            inbox, self._inbox = self._inbox, []
            for peer, message in inbox:
                self._receive(peer, message)
            self._elections.hold_deadline()
            if self._context.voters == (self.name,):
                self._sync()  # the only voter commits at the tick whatever it holds: a change of members, for example
            self._core.tick()
            self._note_changes()
            self._take_proposals()
            if self.leadership is not None:
                self._lead(self.leadership)
            self._sync()
            self._context.release()
            self._resolve()
        except StorageFull:
            self._stall()
        except Exception as error:
            self._fail(error)
        else:
            self._schedule_deadline()

    def _receive(self, peer: str, message: wire.Message) -> None:
        core = self._core
        if self._founding.waits and not isinstance(message, wire.Append | wire.SnapshotChunk):
            self._context.drop()  # M6: who must not vote yet must not learn of terms either, or it would seem to have
            return
        if not core.knows(peer):
            core.meet(peer)
        match message:
            case wire.Append():
                self._following.append(peer, message)
            case wire.SnapshotChunk():
                self._following.snapshot_chunk(peer, message)
            case wire.VoteRequest():
                self._elections.vote_request(peer, message)
            case wire.VoteReply():
                self._elections.vote_reply(peer, message)
            case wire.ReadRound():
                if message.term == core.term and peer == core.leader:
                    self._context.send(peer, wire.ReadRoundReply(message.term, message.round))
            case wire.TimeoutNow():
                if message.term == core.term and peer == core.leader:
                    self._elections.campaign_at_once()
            case wire.AppendReply() | wire.SnapshotReply() | wire.ReadRoundReply():
                self._receive_answer(peer, message)
            case _:
                self._context.drop()

    def _receive_answer(self, peer: str, message: wire.AppendReply | wire.SnapshotReply | wire.ReadRoundReply) -> None:
        """R4 and Raft 5.1: an answer of a higher term ends this leadership, one of a lower term counts for nothing."""
        lead = self.leadership
        if message.term > self._core.term:
            self._core.step_down(message.term)
        elif lead is None or message.term != lead.term or self._core.term != lead.term:
            self._context.drop()
        elif isinstance(message, wire.AppendReply):
            lead.append_reply(peer, message)
        elif isinstance(message, wire.SnapshotReply):
            lead.snapshot_reply(peer, message)
        else:
            lead.read_reply(peer, message)

    def _note_changes(self) -> None:
        """Begin or end a leadership where the engine changed its role, and tell the layer above."""
        core = self._core
        leads = core.role == LEADER
        if self.leadership is not None and not (leads and core.term == self.leadership.term):
            self._end_leadership(self.leadership)
            if not leads:
                core.postpone_election()  # the deadline of a former leader is from before it led
            self._loop.call_later(2 * self._settings.election_s_max, self._give_up_waiting)
        if leads and self.leadership is None:
            self.leadership = Leadership(self._context)
            self._append_due = True
        seen = (core.role, core.term, core.leader)
        if seen != self._seen:
            if core.leader is not None and core.leader != self._seen[2]:
                self.leader_changes_total += 1
            trace_change(self._context.trace, self._seen, seen)
            self._seen = seen
            self._host.leadership_changed()

    def _end_leadership(self, lead: Leadership) -> None:
        why = why_it_ends(
            stopped=self._stopped,
            handed_over=self._handover is not None,
            outdated=self._core.term > lead.term and not self._stalled,
            no_room=self._stalled,
        )
        self._context.trace("leadership_ended", term=lead.term, reason=why)
        self._reads_before = self.reads_served()
        self.leadership = None
        if self._handover is not None:
            self._pending.later(self._handover.ended)
            self._handover = None
        lead.end()

    def _give_up_waiting(self) -> None:
        """A while after a lost leadership, proposals of that term that are still open have an unknown outcome."""
        self._pending.unknown(outcomes.LEADERSHIP_LOST, but_term=self._core.term if self.leads else None)
        self._pending.resolve()

    def _take_proposals(self) -> None:
        lead = self.leadership
        if lead is not None and self._handover is None and not self._proposing.take(lead) and self._append_due:
            self.transfer(None, lambda _error: None)  # what waits goes to who leads then

    def _lead(self, lead: Leadership) -> None:
        if self._append_due:
            lead.repeat_read_round()
        lead.send_read_round()
        lead.replicate(self._append_due)
        self._append_due = False
        if self._handover is not None and not self._handover.step():
            self._handover = None
            self.kick()

    def _sync(self) -> None:
        lead = self.leadership
        commit_too = self._following.sync_commit or (lead is not None and lead.wants_commit_durable)
        self._following.sync_commit = False
        self._syncing.sync(lead, commit_too=commit_too, waited_for=self._handover is not None)

    def _stall(self) -> None:
        """Even what is kept of the reserve is used up: it takes hundreds of elections on a disk that is full for good.
        Nothing was written and nothing leaves, and so it stays until there is room.
        """
        self._stalled = self._context.full = self._context.reserve_used = True
        self._context.discard()
        self._inbox.clear()
        if self.leadership is not None and self.leadership.peers:
            self._core.step_down(self._core.term)
            self._note_changes()
        if self._stall_timer is None:
            self._stall_timer = self._loop.call_later(self._settings.heartbeat_s, self._stall_passed)

    def _stall_passed(self) -> None:
        self._stall_timer = None
        self.kick()

    def _resolve(self) -> None:
        self._pending.resolve()
        if self._fresher:
            for done in self._fresher.due(self.staleness_s()):
                done()
        if self.leadership is not None:
            self.leadership.resolve()
        if self._core.applied_index < self._core.commit_index:
            self.kick()

    def _fail(self, error: Exception) -> None:
        self.stop()
        self._pending.unknown(outcomes.STOPPED)
        self._pending.resolve()
        self._host.failed(error)

    # -- what the engine asks (Hooks)

    def engine_sent(self, peer: str, message: dict[str, Any]) -> None:
        """Vote requests and grants wait for the fsync. The engine's reply to an append is replaced by the gate's."""
        kind = message["type"]
        if kind == "request_vote":
            request = wire.VoteRequest(
                message["term"],
                message["last_log_index"],
                message["last_log_term"],
                pre=False,
                transfer=self._elections.wished_by_leader(message["term"]),
            )
            self._context.hold(peer, request)
        elif kind == "response_vote":
            self._context.hold(peer, wire.VoteReply(message["term"], granted=True, pre=False))
            self._context.trace("vote_granted", term=message["term"], to=peer)
        elif kind == "next_node_idx":
            self._context.engine_accepted = message["success"]
        else:
            raise EngineFault(f"the engine sent {kind}, which it should never do here")

    def append_due(self) -> None:
        """A heartbeat is due, or an entry of the engine's own (a no-op) is to go out."""
        self._append_due = True

    def apply_committed(self) -> None:
        """Commit moved, or a backlog is left."""
        self._applier.slice()

    def _members_changed(self) -> None:
        if self.leadership is not None:
            self.leadership.members_changed()
            self._append_due = True
        self._host.configuration_changed()

    # -- snapshots

    def _install(self, info: SnapshotInfo) -> None:
        """Put a received snapshot in the place of the state, and of the log unless the log goes on from it."""
        core, journal = self._core, self._journal
        offset = info.index - journal.entries[0][1]
        goes_on = 0 <= offset < len(journal.entries) and journal.entries[offset][2] == info.term
        if not goes_on:
            journal.reset(info.index, info.term, info.configuration)
            self._seats.replaced()
        self._pending.unknown(outcomes.COVERED, up_to=info.index)
        self._host.restore(self._context.snapshots.frames(info))
        core.applied_index = info.index
        core.commit_index = max(core.commit_index, info.index)
        journal.set_commit(core.commit_index)
        self._host.applied(info.index)
        self._context.trace("snapshot_installed", index=info.index, bytes=info.size)

    def compact(self, info: SnapshotInfo) -> None:
        """A snapshot of this node's own is durable: drop the log that it covers, but for a tail."""
        if self._stopped:
            return
        try:
            # A received snapshot may have taken the place of this one meanwhile, and not be applied yet.
            covered = min(info.index, self._core.applied_index)
            self._journal.compact(covered, self._settings.log_keep_bytes)
        except Exception as error:
            self._fail(error)

"""Elections as the gate sees them: who may vote for whom, and when this node may campaign (rules R5 to R9)."""

from kvstore.consensus import rules
from kvstore.consensus.context import Context
from kvstore.consensus.founding import Founding
from kvstore.consensus.messages import VoteReply, VoteRequest
from kvstore.consensus.raft import CANDIDATE, LEADER


class Elections:
    """Holds the engine's election deadline until a pre-vote is won, and feeds it only votes that count."""

    def __init__(self, context: Context, founding: Founding) -> None:
        self._context = context
        self._founding = founding
        self._leader_heard_s = float("-inf")
        self._pre_votes: set[str] = set()
        self._pre_term = 0
        self._pre_vote_won = False
        self._transfer_term = 0
        self._votes: set[str] = set()
        self._votes_term = 0

    # -- campaigning

    def leader_heard(self) -> None:
        """A message of the present term's leader arrived: any pre-vote of ours is pointless (R7, R8)."""
        self._leader_heard_s = self._context.now_s
        self._pre_votes.clear()
        self._pre_vote_won = False

    def leader_lost(self) -> None:
        """The leader's process closed its connection: do not wait for its silence to last a whole timeout."""
        self._leader_heard_s = float("-inf")
        self._context.core.hasten_election(2 * self._context.settings.heartbeat_s)

    def founded(self) -> None:
        """All first members of a new cluster are there (M6): nobody has to be given time to lead."""
        self._context.core.hasten_election(2 * self._context.settings.heartbeat_s)

    def campaign_at_once(self) -> None:
        """The leader hands over (dissertation 3.10): no pre-vote, and its wish is told with the requests for votes."""
        if self._context.name in self._context.voters:
            self._transfer_term = self._context.core.term + 1
            self._pre_vote_won = True
            self._context.core.call_election()

    def wished_by_leader(self, term: int) -> bool:
        """Whether the election in `term` is one that the leader asked for."""
        return term == self._transfer_term

    def hold_deadline(self) -> None:
        """R8: a deadline that has passed starts a pre-vote; the engine does not see it before that is won."""
        context = self._context
        core = context.core
        if core.role == LEADER or context.now_s < core.election_deadline or context.voters == (context.name,):
            return
        if self._pre_vote_won:
            self._pre_vote_won = False
            return
        core.postpone_election()
        core.forget_leader()
        if context.name not in context.voters or self._founding.waits:
            return
        self._pre_votes = {context.name}
        self._pre_term = core.term + 1
        context.trace("pre_vote", term=self._pre_term)
        term, index = context.last
        for peer in context.voters:
            if peer != context.name:
                context.send(peer, VoteRequest(self._pre_term, index, term, pre=True, transfer=False))

    # -- messages

    def vote_request(self, peer: str, message: VoteRequest) -> None:
        """R6, R7, R8, R9; what is left goes to the engine, whose answer is held until the vote is durable."""
        context = self._context
        core = context.core
        heeds = rules.heeds_vote_request(
            transfer=message.transfer,
            leads=core.role == LEADER,
            since_leader_s=context.now_s - self._leader_heard_s,
            election_s_min=context.settings.election_s_min,
        )
        # Whoever asks counts the answer only if this node votes in its configuration. So a learner answers too: it may
        # have been promoted by an entry that it has not received yet, and then its vote is needed.
        if not heeds:
            context.drop()
            context.trace("vote_ignored", term=message.term, of=peer, pre=message.pre)
            return
        asked = (message.last_term, message.last_index)
        if message.pre:
            if rules.grants_pre_vote(core.term, message.term, context.last, asked):
                context.send(peer, VoteReply(message.term, granted=True, pre=True))
            else:
                context.hold(peer, VoteReply(core.term, granted=False, pre=True))
        elif message.term < core.term:
            context.hold(peer, VoteReply(core.term, granted=False, pre=False))
        elif rules.grants_again(core.term, core.voted_for, peer, message.term):
            context.hold(peer, VoteReply(core.term, granted=True, pre=False))
        else:
            core.deliver(
                peer,
                {
                    "type": "request_vote",
                    "term": message.term,
                    "last_log_index": message.last_index,
                    "last_log_term": message.last_term,
                },
            )

    def vote_reply(self, peer: str, message: VoteReply) -> None:
        """R5: an answer counts once, from a voter, for what is being asked now."""
        context = self._context
        core = context.core
        if not message.granted:
            context.trace("vote_denied", term=message.term, by=peer, pre=message.pre)
            if message.term > core.term:
                core.step_down(message.term)
            return
        if message.pre:
            if self._pre_votes and message.term == self._pre_term == core.term + 1 and core.role != LEADER:
                self._pre_votes.add(peer)
                if rules.is_majority(self._pre_votes, context.voters):
                    self._pre_votes.clear()
                    self._pre_vote_won = True
                    core.call_election()
            return
        if core.role != CANDIDATE or message.term != core.term or peer not in context.voters:
            context.drop()
            return
        if self._votes_term != core.term:
            self._votes_term, self._votes = core.term, set()
        if peer not in self._votes:
            self._votes.add(peer)
            context.trace("vote", term=message.term, by=peer)
            core.deliver(peer, {"type": "response_vote", "term": message.term})

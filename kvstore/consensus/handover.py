"""Leadership transfer (dissertation 3.10): stop proposing, let one follower catch up, tell it to campaign at once.

It is given up after one election timeout, and proposing goes on. The follower's request for votes says that the leader
wishes it (`transfer`), so that voters who still hear the leader answer all the same (rule R7).
"""

from kvstore.consensus.context import Context
from kvstore.consensus.engine import AllDone
from kvstore.consensus.leading import Leadership
from kvstore.consensus.messages import TimeoutNow
from kvstore.errors import NoLeader


class Handover:
    """One transfer that is under way; the member takes no proposals meanwhile."""

    def __init__(self, context: Context, lead: Leadership, target: str, done: AllDone) -> None:
        self.target = target
        self._context = context
        self._lead = lead
        self._done = done
        self._give_up_s = context.now_s + context.settings.election_s_max
        self._told = False

    def step(self) -> bool:
        """Go on; False once it has been given up."""
        context = self._context
        if context.now_s > self._give_up_s:
            self._done(NoLeader(f"{self.target} did not take over in time; this node still leads"))
            return False
        if self.target not in context.voters:
            self._done(NoLeader(f"{self.target} was removed meanwhile; this node still leads"))
            return False
        last = context.journal.entries[-1][1]
        if not self._told and context.core.match(self.target) == last == context.journal.durable_index:
            self._told = True
            context.send(self.target, TimeoutNow(self._lead.term))
        return True

    def ended(self) -> None:
        """This node leads no more, which was the aim."""
        self._done(None)


def best_target(context: Context, lead: Leadership) -> str | None:
    """The follower that holds most of the log among those that answer and have room, or None."""
    # Who has not answered in this term may have room or not: that is not known yet.
    alive = [
        peer
        for peer in lead.peers
        if lead.lag_s(peer) <= context.settings.election_s_min
        and lead.progress[peer].room
        and context.core.match(peer) > 0
    ]
    return max(alive, key=lambda peer: (context.core.match(peer), peer), default=None)

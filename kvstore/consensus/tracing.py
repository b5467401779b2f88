"""Which events a change of role, term or leader is, for whoever watches the protocol (kvstore.telemetry.trace)."""

from kvstore.consensus.raft import FOLLOWER, LEADER, ROLE_NAMES
from kvstore.telemetry.trace import Trace

# role, term, leader
Seen = tuple[int, int, str | None]


def trace_change(trace: Trace, before: Seen, now: Seen) -> None:
    """Tell of it. A lone voter has won before anybody sees that it was a candidate."""
    role, term, leader = now
    began = role != FOLLOWER and (term != before[1] or before[0] == FOLLOWER)
    if began:
        trace("election", term=term)
    if role == LEADER and (began or before[0] != LEADER):
        trace("leads", term=term)
    trace("role", role=ROLE_NAMES[role], term=term, leader=leader)


def why_it_ends(*, stopped: bool, handed_over: bool, outdated: bool, no_room: bool) -> str:
    """Why a leadership ended. Without any of these: it had not heard from a majority for too long."""
    if stopped:
        return "stopped"
    if handed_over:
        return "handed_over"
    if outdated:
        return "higher_term"
    return "no_room" if no_room else "no_majority"

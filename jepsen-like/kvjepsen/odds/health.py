"""Whether a cluster is whole: its nodes name one leader, reach all voters, and have applied everything. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from kvstore.model.results import ClusterView


class Health(NamedTuple):
    """Who leads, if everything is well; else None, and what is not."""

    leader: str | None
    why: str = ""


def health(views: Sequence[ClusterView | None]) -> Health:
    """What nodes say about their cluster, judged together; None stands for one that did not answer."""
    whole = [view for view in views if view is not None]
    if len(whole) < len(views) or not whole:
        return Health(None, f"{len(views) - len(whole)} nodes do not answer")
    leaders = {(view.leader, view.term) for view in whole}
    leader = whole[0].leader
    if len(leaders) > 1 or leader is None:
        return Health(None, f"the nodes name {sorted(str(name) for name, _ in leaders)} as leaders")
    floor = max(view.commit_index for view in whole)
    for view in whole:
        for member in view.members:
            if not (member.voter and member.reachable):
                return Health(None, f"{view.node} does not reach {member.name} as a voter")
            if (member.applied_index or 0) < floor or member.intents_pending:
                return Health(None, f"{member.name} has not caught up")
    return Health(leader)

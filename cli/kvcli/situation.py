"""Why something could not be served: who leads, and which nodes are down, as far as any node can tell.

Asked for after a failure, from every endpoint, for SITUATION_ASK_S_MAX at most; it never takes the place of the
failure.
"""

from typing import TYPE_CHECKING, Final

from kvcli.credentials import Credentials
from kvstore import limits
from kvstore.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KvError,
    LocalError,
    MembersUnreachable,
    NoQuorum,
    NotAVoter,
    Unavailable,
)

if TYPE_CHECKING:
    from kvcli.options import Settings
    from kvstore.model.results import ClusterView

_NAME: Final = "kv_situation"


def told(error: BaseException) -> list[str]:
    """What `look` found out, or `tell` was given, as lines for people."""
    found: list[str] = getattr(error, _NAME, [])
    return found


def tell(error: BaseException, lines: list[str]) -> None:
    """These lines go with `error`."""
    setattr(error, _NAME, lines)


async def look(error: KvError | LocalError, chosen: "Settings", who: Credentials) -> None:
    """Ask around, if nodes that are down may be the reason for `error`; the answer goes with it."""
    if not isinstance(error, (Unavailable, DeadlineExceeded, ConnectionLost)) or isinstance(error, NotAVoter):
        return
    views = await ask(chosen, who, limits.SITUATION_ASK_S_MAX)
    answered = [view for view in views.values() if not isinstance(view, Exception)]
    lines = describe(answered)
    if not lines and answered and isinstance(error, (NoQuorum, MembersUnreachable)):
        lines = [f"no node is down by now, and {best(answered).leader} leads: try again"]
    tell(error, lines)


async def ask(chosen: "Settings", who: Credentials, timeout_s: float) -> "dict[str, ClusterView | Exception]":
    """What each endpoint says of the cluster, or why it says nothing."""
    import asyncio

    async def one(endpoint: str) -> "ClusterView | Exception":
        try:
            async with chosen.client((endpoint,), timeout_s=timeout_s, who=who) as client:
                return await client.cluster()
        except (KvError, LocalError) as failed:
            return failed

    return dict(zip(chosen.endpoints, await asyncio.gather(*map(one, chosen.endpoints)), strict=True))


def best(views: "list[ClusterView]") -> "ClusterView":
    """The one that knows most: with a leader, of the highest term, the leader's own."""
    return max(views, key=lambda view: (view.leader is not None, view.term, view.node == view.leader))


def down(views: "list[ClusterView]") -> list[str]:
    """Members that no node which answered can reach."""
    alive = {view.node for view in views}
    alive |= {member.name for view in views for member in view.members if member.reachable}
    return [member.name for member in best(views).members if member.name not in alive]


def describe(views: "list[ClusterView]") -> list[str]:
    """What stands in the way, and what to do; nothing if nothing does, or nobody answered."""
    from kvstore.consensus.configuration import majority

    if not views:
        return []
    view, gone = best(views), down(views)
    voters = [member.name for member in view.members if member.voter]
    lost = [name for name in gone if name in voters]
    needed = majority(len(voters))
    are = f"{len(gone)} of {len(view.members)} nodes {'is' if len(gone) == 1 else 'are'} down: {', '.join(gone)}"
    if len(voters) - len(lost) < needed:
        missing = needed - (len(voters) - len(lost))
        these = "it" if len(lost) == 1 else f"{missing} of them" if missing < len(lost) else "them"
        return [
            f"no leader: {are} (as {_who(views)} {'sees' if len(views) == 1 else 'see'} it)",
            f"start {these} again: {needed} of {len(voters)} voters must run. Until then --level one works",
        ]
    if view.leader is None or view.leader in gone:
        return ["no leader" + (f": {are}" if gone else "") + "; an election is under way: try again in a moment"]
    return [f"{view.leader} leads; {are}"] if gone else []


def _who(views: "list[ClusterView]") -> str:
    return " and ".join(sorted({view.node for view in views}))

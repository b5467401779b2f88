"""Members added, removed and promoted, leadership transferred: from any node, carried out by the leader.

The leader also does two things by itself, whenever no change is under way: it binds the identities of members once they
have answered it (rule M5), and promotes a learner that has caught up (M4).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from kvstore import limits
from kvstore.asking import asked as asked_now
from kvstore.consensus import membership
from kvstore.consensus.configuration import Configuration, Member, majority
from kvstore.errors import BadRequest, DeadlineExceeded, KvError, MembershipRefused, NoLeader
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.reads import AppliedWaits
from kvstore.node.retirement import RETIRED_S, Retirement
from kvstore.node.site import Site

log = structlog.get_logger()

CALL_MEMBERS: Final = "members"
ADD: Final = "add"
REMOVE: Final = "remove"
TRANSFER: Final = "transfer"
FORCE: Final = "force"
RETIRE_S_MAX: Final = 2.0
LOOK_EVERY_S: Final = 0.05


class Membership:
    """`identity` is that of this node's own data directory."""

    def __init__(self, site: Site, applied: AppliedWaits, retirement: Retirement, identity: str) -> None:
        self._site = site
        self._engine = site.engine
        self._applied = applied
        self._retirement = retirement
        self._identity = identity
        self._timer: asyncio.TimerHandle | None = None
        site.calls.serve(CALL_MEMBERS, self._serve)

    async def add(self, name: str, peer: str, timeout_s: float) -> None:
        """Take in `name` at `peer` (HOST:PORT) as a learner; it is promoted by itself. Raises KvError."""
        await self._on_leader([ADD, name, peer], timeout_s)

    async def remove(self, name: str, timeout_s: float, *, force: bool = False) -> int | None:
        """Remove `name`; a leader hands over first. Raises KvError.

        Refused while `name` holds writes at level ONE that nobody else has, or cannot be asked whether it does, unless
        by `force`. Returns how many such writes were lost: 0 without `force`, None where nobody knows.
        """
        return await self._on_leader([REMOVE, name, FORCE if force else ""], timeout_s)

    async def transfer(self, name: str | None, timeout_s: float) -> None:
        """Make `name`, or whoever is most current, the leader. Raises KvError."""
        await self._on_leader([TRANSFER, name or "", ""], timeout_s)

    async def _on_leader(self, request: list[str], timeout_s: float) -> int | None:
        at = self._site.in_s(timeout_s)
        while True:
            leader = self._engine.leader
            try:
                if self._engine.leads:
                    done, lost = await self._here(request, at)
                    if done:
                        return lost
                elif leader is not None:
                    match await self._site.calls.call(leader, CALL_MEMBERS, request, at, asked=asked_now()):
                        case [int(lost)]:
                            return lost
                    return None
            except (NotSent, NoLeader):
                if self._engine.leader == leader:
                    await self._site.leaders.wait_change(at, read=False)
                continue
            except (Expired, PeerGone):
                raise DeadlineExceeded("the leader did not tell in time what became of the change") from None
            await self._site.leaders.wait(at, read=False)

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        if len(body) != 3 or not all(isinstance(text, str) for text in body):
            raise BadRequest("a forwarded change of members is malformed")
        done, lost = False, None
        try:
            if self._engine.leads:
                done, lost = await self._here(body, self._site.in_s(limits.TIMEOUT_MS_DEFAULT / 1000))
        except Expired:
            raise DeadlineExceeded("the change was begun, but not committed in time") from None
        if not done:
            raise NoLeader("this node does not lead")
        return [lost]

    async def _here(self, request: list[str], at: float) -> tuple[bool, int | None]:
        """Carry it out as leader: whether it is done (else another leader has to), and how many writes were lost."""
        verb, name, detail = request
        if verb == TRANSFER:
            await self._hand_over(name or None, at)
            return True, 0
        if verb == ADD:
            await self._change(lambda now: _with_learner(now, name, detail), at)
            return True, 0
        if verb != REMOVE:
            raise BadRequest(f"no such change of members: {verb!r}")
        if name == self._engine.name:
            self._check_margin(name)
            await self._hand_over(None, at)
            return False, None
        self._without(self._engine.configuration, name)
        lost = await self._left_behind(name, at, force=detail == FORCE)
        # Before it takes up work again.
        await self._change(lambda now: self._without(now, name), min(at, self._site.in_s(RETIRED_S / 2)))
        return True, lost

    async def _left_behind(self, name: str, at: float, *, force: bool) -> int | None:
        """How many acknowledged writes go with `name`, None if nobody knows. Raises MembershipRefused if there may be
        any, unless by `force`.
        """
        member = self._engine.configuration.member(name)
        left = await self._retirement.ask(name, min(at, self._site.in_s(RETIRE_S_MAX)))
        if left is None and (member is None or not member.voter):
            return 0  # it acknowledges nothing, and cannot be one whose promotion was taken back, for that one answers
        if left and not force:
            raise MembershipRefused(
                f"{name} holds {left} acknowledged writes at level one that nobody else has yet; "
                "try again when they are handed over, or remove it by force and lose them"
            )
        if left is None and not force:
            raise MembershipRefused(
                f"{name} cannot be asked whether it holds acknowledged writes at level one that nobody else has; "
                "let it come back, or remove it by force and lose them"
            )
        if left != 0:
            log.warning("writes_lost", member=name, writes=left)
        return left

    def _without(self, now: Configuration, name: str) -> tuple[Member, ...]:
        if now.member(name) is None:
            raise MembershipRefused(f"{name} is not a member")
        self._check_margin(name)
        return membership.without(now, name)

    def _check_margin(self, name: str) -> None:
        """Refuse a removal after which no majority of those who are left could be reached."""
        left = [voter for voter in self._engine.configuration.voters if voter != name]
        missing = [voter for voter in self._engine.unreachable() if voter != name]
        if not left:
            raise MembershipRefused(f"{name} is the only voter")
        if len(left) - len(missing) < majority(len(left)):
            raise MembershipRefused(
                f"without {name}, {len(left)} voters are left and {', '.join(missing)} cannot be reached: "
                "there would be no majority",
                missing=tuple(missing),
            )

    async def _change(self, wanted: Callable[[Configuration], tuple[Member, ...]], at: float) -> None:
        """Make the change, as soon as it can begin, and wait until it is committed. What had to wait is judged anew by
        `wanted`: the change before it may have been the same.
        """
        future: asyncio.Future[None] = self._site.loop.create_future()

        def done(_result: Any, _index: int, error: KvError | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

        while (objection := self._engine.change(wanted(self._engine.configuration), done)) is not None:
            if not objection.passes or not await self._more_applied(at):
                raise MembershipRefused(objection.text)
            if not self._engine.leads:
                raise NoLeader("this node stopped leading before the change had begun")
        await self._site.deadlines.wait(future, at)

    async def _more_applied(self, at: float) -> bool:
        """Wait until this node has applied more, which is what every passing objection waits for."""
        future: asyncio.Future[None] = self._site.loop.create_future()
        self._applied.add(self._engine.applied_index + 1, future)
        try:
            await self._site.deadlines.wait(future, at)
        except Expired:
            self._applied.forget()
            return False
        return True

    async def _hand_over(self, name: str | None, at: float) -> None:
        if name == self._engine.name:
            return
        if name is not None and name not in self._engine.configuration.voters:
            raise MembershipRefused(f"{name} is not a voter")
        future: asyncio.Future[None] = self._site.loop.create_future()

        def done(error: KvError | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(MembershipRefused(error.detail))

        self._engine.transfer(name, done)
        await self._site.deadlines.wait(future, at)

    # -- what the leader does by itself

    def start(self) -> None:
        """Begin to look after the members."""
        self._timer = self._site.loop.call_later(LOOK_EVERY_S, self._look)

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        if not self._engine.leads:
            return
        present = self._engine.configuration
        known = {self._engine.name: self._identity}
        for member in present.members:
            if (peer := self._engine.peer(member.name)) is not None and self._engine.answers(member.name):
                known[member.name] = peer.identity
        wanted = membership.with_identities(present, known)
        if wanted == present.members:
            behind = self._engine.status()
            for member in present.members:
                match = behind.match.get(member.name, 0)
                caught_up = match > 0 and behind.last_index - match <= membership.PROMOTE_ENTRIES_MAX
                if not member.voter and member.identity and caught_up and self._engine.answers(member.name):
                    wanted = membership.with_promoted(present, member.name)
                    break
        if wanted != present.members:
            self._engine.change(wanted, _noted)


def _with_learner(now: Configuration, name: str, peer: str) -> tuple[Member, ...]:
    if now.member(name) is not None:
        raise MembershipRefused(f"{name} is a member already")
    if any(member.peer == peer for member in now.members):
        raise MembershipRefused(f"{peer} is the address of another member")
    if len(now.members) >= limits.MEMBERS_MAX:
        raise MembershipRefused(f"a cluster has at most {limits.MEMBERS_MAX} members")
    return membership.with_learner(now, name, peer)


def _noted(_result: Any, index: int, error: KvError | None) -> None:
    log.info("members_changed", index=index, error=None if error is None else str(error))

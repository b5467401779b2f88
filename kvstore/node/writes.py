"""Writes at level QUORUM and ALL, from any node.

On the leader, everything that arrives in one turn of the loop is put into one log entry (`proposals`). A follower hands
the write to the leader and passes its answer on. What is known to have been proposed nowhere is tried again within the
deadline. What may have been, because the leader is gone or another one leads, is proposed again only if it has a name,
under which it is carried out once; if that does not succeed, its outcome is unknown.

Level ALL first waits until every voter has applied what it had acknowledged at level ONE before (`drains`), so that
nothing older can hide the write; then it is committed; then every voter has to have it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from kvstore import limits, outcomes
from kvstore.asking import asked as asked_now
from kvstore.consensus.configuration import majority
from kvstore.errors import BadRequest, KvError, NoLeader, Overloaded
from kvstore.model import commands
from kvstore.model.command_shapes import known, within_limits
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import APPLIED, OpResult
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.drains import Drains
from kvstore.node.features import Features
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.proposals import Applied, NotProposed, Proposals
from kvstore.node.site import Site
from kvstore.node.window import Window

CALL_WRITE: Final = "write"


class Written(NamedTuple):
    """A write that met its level: what applying it gave, and how many voters held it of those required."""

    result: OpResult
    required: int
    acked: int


class Writes:
    """Takes writes to the log and back. Bounded by count and bytes; refuses before memory grows."""

    def __init__(
        self, site: Site, proposals: Proposals, drains: Drains, clock: HybridClock, features: Features
    ) -> None:
        self._site = site
        self._engine = site.engine
        self._proposals = proposals
        self._drains = drains
        self._clock = clock
        self._features = features
        self._open = 0
        self._open_bytes = 0
        self._forwarded = Window(site, limits.FORWARDED_BYTES_MAX)
        # Writes must leave room for reads, drains and everything else that peers ask.
        site.calls.serve(CALL_WRITE, self._serve, served_max=limits.CALLS_SERVED_MAX * 3 // 4)

    @property
    def open(self) -> tuple[int, int]:
        """How many writes wait here, with those that other nodes sent to the leader, and how many bytes they have."""
        return self._open, self._open_bytes

    async def write(self, op: Op, level: Level, timeout_s: float) -> Written:
        """Apply `op` through the log. Raises KvError with the outcome; precondition results are in `result.status`."""
        at = self._site.in_s(timeout_s)
        size = self.admit((op,), level)
        try:
            return await self._until_proposed(op, level, at)
        except KvError as error:
            error.level = error.level or level
            error.leader = error.leader or self._engine.leader
            raise
        finally:
            self.release(1, size)

    def admit(self, ops: Sequence[Op], level: Level) -> int:
        """Count `ops` among those that wait, until `release` is given their number and the size returned. Raises
        Overloaded: none of them is counted then.
        """
        size = sum(map(commands.op_bytes, ops))
        too_many = self._open + len(ops) > limits.PROPOSALS_PENDING_MAX
        if too_many or self._open_bytes + size > limits.PROPOSALS_PENDING_BYTES_MAX:
            raise Overloaded(f"{self._open} writes are waiting already", level=level, retry_after_s=1.0)
        self._open += len(ops)
        self._open_bytes += size
        return size

    def release(self, count: int, size: int) -> None:
        """They do not wait any more."""
        self._open -= count
        self._open_bytes -= size

    async def _until_proposed(self, op: Op, level: Level, at: float) -> Written:
        leaders = self._site.leaders
        perhaps: str | None = None  # who may have proposed it
        try:
            while True:
                leader = self._engine.leader
                try:
                    if self._engine.leads:
                        return await self._here(op, level, at)
                    if leader is not None and leader != self._engine.name:
                        return await self._there(leader, op, level, at)
                except (NotProposed, NotSent, PeerGone) as failed:
                    if isinstance(failed, PeerGone):
                        perhaps = leader
                    if self._engine.leader == leader:
                        await leaders.wait_change(min(at, self._site.in_s(1.0)), read=False)
                    continue
                await leaders.wait(at, read=False)
        except KvError as refused:
            raise known_fate(refused, perhaps) from None

    # -- on the leader

    async def _here(self, op: Op, level: Level, at: float) -> Written:
        voters = self._engine.configuration.voters
        if level is Level.ALL:
            await self._drains.all(at, read=False)
            if not self._engine.leads:
                raise NotProposed
        if (before := self._features.before(op)) is not None:
            self._proposals.add(before).add_done_callback(_nobody_waits)
        future = self._proposals.add(op)
        try:
            applied: Applied = await self._site.deadlines.wait(future, at)
        except Expired:
            fate = outcomes.NOT_TAKEN if self._proposals.withdraw(future) else outcomes.NOT_IN_TIME
            raise outcomes.error(fate, required=majority(len(voters))) from None
        if level is not Level.ALL or applied.result.status != APPLIED:  # what changed nothing need not be everywhere
            return Written(applied.result, majority(len(voters)), applied.acked)
        await self.all_have(applied.at_index, at)
        return Written(applied.result, len(voters), len(voters))

    async def all_have(self, index: int, at: float) -> None:
        """Wait until every voter holds what level ALL promises. The write is committed by now, whatever happens
        here.
        """
        voters = self._engine.configuration.voters
        future: asyncio.Future[KvError | None] = self._site.loop.create_future()

        def done(error: KvError | None) -> None:
            if not future.done():
                future.set_result(error)

        self._engine.when_all_have(index, done)
        try:
            error = await self._site.deadlines.wait(future, at)
        except Expired:
            error = outcomes.error(outcomes.LEVEL_NOT_MET)
        if error is not None:
            missing = self._engine.behind(index)
            raise outcomes.error(
                outcomes.LEVEL_NOT_MET,
                f"the write is committed, but not known to be on {', '.join(missing)}",
                required=len(voters),
                acked=len(voters) - len(missing),
                missing=tuple(missing),
            )

    # -- between nodes

    async def _there(self, leader: str, op: Op, level: Level, at: float) -> Written:
        self._features.check_leader(leader, op)
        async with self.on_the_way(commands.op_bytes(op), at):
            return await self._sent(leader, op, level, at)

    @asynccontextmanager
    async def on_the_way(self, size: int, at: float) -> AsyncIterator[None]:
        """Around a call that takes `size` bytes of writes to the leader. Raises Overloaded: they were not sent."""
        try:
            await self._forwarded.enter(size, at)
        except Expired:
            raise Overloaded("the writes before this one had not reached the leader by its deadline") from None
        try:
            yield
        finally:
            self._forwarded.leave(size)

    async def _sent(self, leader: str, op: Op, level: Level, at: float) -> Written:
        remaining_ms = max(int((at - self._site.loop.time()) * 1000), 1)
        body, named = [list(op), level.value, remaining_ms], commands.is_named(op)
        try:
            answer = await self._site.calls.call(leader, CALL_WRITE, body, at, while_leading=named, asked=asked_now())
        except Expired:
            raise silent(leader) from None
        except PeerGone:
            if named:
                raise
            raise gone(leader) from None
        except NoLeader as error:
            raise NotProposed from error  # the node asked had just stopped leading; nothing was appended
        return self._told(leader, answer)

    def _told(self, leader: str, answer: list[Any]) -> Written:
        """What the leader answered. Whoever is told of the write here is told a stamp that is not below it."""
        match answer:
            case [[*told], int(ms), int(counter)]:
                written = written_of(told)
                if written is not None:
                    self._clock.resume(ms, counter)
                    return written
        raise strange(leader)

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        op, level, timeout_ms = parse_write_call(body)
        if not self._engine.leads:
            raise outcomes.error(outcomes.NO_LEADER, "this node does not lead")
        # Each node bounds what its own clients send; all of it together waits here.
        size = self.admit((op,), level)
        try:
            written = await self._here(op, level, self._site.in_s(timeout_ms / 1000))
        except NotProposed:
            raise outcomes.error(
                outcomes.NO_LEADER, "this node stopped leading before the write was appended"
            ) from None
        finally:
            self.release(1, size)
        highest = self._clock.highest()
        return [wire_of(written), highest.ms, highest.counter]


def _nobody_waits(future: "asyncio.Future[Applied]") -> None:
    if not future.cancelled():
        future.exception()


def silent(leader: str) -> KvError:
    """What is told of a write that `leader` did not answer in time."""
    return outcomes.error(
        outcomes.LEADER_SILENT, f"the leader {leader} did not answer in time; the write may still take effect"
    )


def gone(leader: str) -> KvError:
    """What is told of a write that was under way when the connection to `leader` ended."""
    return outcomes.error(
        outcomes.LEADER_GONE,
        f"the connection to the leader {leader} ended before its answer came; the write may have taken effect",
    )


def known_fate(error: KvError, perhaps: str | None) -> KvError:
    """What is told of a write that ended in `error` when `perhaps` may have proposed it before: a refusal says nothing
    about that.
    """
    return gone(perhaps) if perhaps is not None and error.outcome == "not_applied" else error


def strange(leader: str) -> KvError:
    """What is told of a write that `leader` answered in another form than this build's."""
    return outcomes.error(outcomes.LEADER_GONE, f"the leader {leader} answered in a form that is not known here")


def wire_of(written: Written) -> list[Any]:
    """What a peer is told of a write."""
    return [*written.result, written.required, written.acked]


def written_of(told: Any) -> Written | None:
    """What `wire_of` told, or None for anything else."""
    match told:
        case [int(), int(), int(), bytes(), int(required), int(acked)]:
            return Written(OpResult(*told[:4]), required, acked)
    return None


def parse_write_call(body: list[Any]) -> tuple[Op, Level, int]:
    """The operation, level and milliseconds that a peer forwarded. Raises BadRequest for anything malformed."""
    match body:
        case [[*parts], str(name), int(timeout_ms)]:
            op = forwarded_op(parts)
        case _:
            raise BadRequest("a forwarded write is malformed")
    if name not in (Level.QUORUM, Level.ALL) or not 0 < timeout_ms <= limits.TIMEOUT_MS_MAX:
        raise BadRequest("a forwarded write has no valid level or timeout")
    return op, Level(name), timeout_ms


def forwarded_op(parts: list[Any]) -> Op:
    """An operation that a peer forwarded. Raises BadRequest for anything malformed."""
    op: Op = _as_tuples(parts)
    if not known(op) or op[0] == commands.OP_EXPIRE or not within_limits(op):
        raise BadRequest("a forwarded write is malformed or out of bounds")
    return op


def _as_tuples(part: Any) -> Any:
    """Operations are made of tuples; what came over the wire, of lists."""
    return tuple(map(_as_tuples, part)) if isinstance(part, list) else part

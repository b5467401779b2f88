"""Many writes at level QUORUM or ALL at a time, from any node: what `writes` does, for a list.

The operations of a list are independent. They are put into the leader's queue in one turn of the loop, so that they
travel in one log entry (a few, if they are large) and share its fsync; a follower hands them to the leader in parts
of bounded size, a part in one call. Each has its own result. One task waits for a whole part: what lies in one entry
is decided at one moment.

The rules are those of single writes. What is known to have been proposed nowhere is tried again within the deadline;
what may have been is proposed again only where all of a part have names. An answer of the leader tells it of each
operation.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kvstore import limits, outcomes
from kvstore.asking import asked as asked_now
from kvstore.consensus.configuration import majority
from kvstore.consensus.engine import Engine
from kvstore.errors import BadRequest, KvError, NoLeader, from_problem
from kvstore.model import commands
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import APPLIED
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.drains import Drains
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.proposals import Applied, NotProposed, Proposals
from kvstore.node.site import Site
from kvstore.node.writes import (
    Writes,
    Written,
    forwarded_op,
    gone,
    known_fate,
    silent,
    strange,
    wire_of,
    written_of,
)

CALL_WRITES: Final = "writes"

Fate = Written | KvError | None
"""What became of one operation; None: it was not proposed anywhere."""


class BatchedWrites:
    """Takes lists of writes to the log and back, within the bounds that `Writes` keeps for all writes."""

    def __init__(self, site: Site, proposals: Proposals, drains: Drains, writes: Writes, clock: HybridClock) -> None:
        self._site = site
        self._engine: Engine = site.engine
        self._proposals = proposals
        self._drains = drains
        self._writes = writes
        self._clock = clock
        site.calls.serve(CALL_WRITES, self._serve, served_max=limits.CALLS_SERVED_MAX * 3 // 4)

    async def write(self, ops: Sequence[Op], level: Level, at: float) -> list[Written | KvError]:
        """Apply each of `ops` through the log, by loop time `at`. Precondition results are in `result.status`."""
        parts = list(_parts(ops))
        if len(parts) == 1:
            return await self._part(parts[0], level, at)
        told = await asyncio.gather(*(self._part(part, level, at) for part in parts))
        return [fate for part in told for fate in part]

    async def _part(self, ops: list[Op], level: Level, at: float) -> list[Written | KvError]:
        fates: list[Fate] = [None] * len(ops)
        perhaps: str | None = None  # who may have proposed some of what is open
        try:
            size = self._writes.admit(ops, level)
        except KvError as full:
            return self._named([full] * len(ops), level)
        try:
            while open_places := [place for place, fate in enumerate(fates) if fate is None]:
                leader = self._engine.leader
                try:
                    found = await self._attempt(leader, [ops[place] for place in open_places], level, at)
                except PeerGone:
                    perhaps = leader
                    found = [None] * len(open_places)
                for place, fate in zip(open_places, found, strict=True):
                    fates[place] = known_fate(fate, perhaps) if isinstance(fate, KvError) else fate
                if leader is not None and None in found and self._engine.leader == leader:
                    await self._site.leaders.wait_change(min(at, self._site.in_s(1.0)), read=False)
        except KvError as refused:
            fates = [known_fate(refused, perhaps) if fate is None else fate for fate in fates]
        finally:
            self._writes.release(len(ops), size)
        return self._named(fates, level)

    async def _attempt(self, leader: str | None, ops: list[Op], level: Level, at: float) -> list[Fate]:
        """The fates of `ops`, as far as one attempt can decide them. Raises PeerGone: they are to be proposed again."""
        if self._engine.leads:
            return await self._here(ops, level, at)
        if leader is not None and leader != self._engine.name:
            return await self._there(leader, ops, level, at)
        await self._site.leaders.wait(at, read=False)
        return [None] * len(ops)

    def _named(self, fates: Sequence[Fate], level: Level) -> list[Written | KvError]:
        """Each error as one of its own, with level and leader; one instance may have been told to many."""
        named: list[Written | KvError] = []
        for fate in fates:
            if isinstance(fate, KvError):
                fate = from_problem(fate.to_problem())
                fate.level = fate.level or level
                fate.leader = fate.leader or self._engine.leader
            assert fate is not None
            named.append(fate)
        return named

    # -- on the leader

    async def _here(self, ops: list[Op], level: Level, at: float) -> list[Fate]:
        required = majority(len(self._engine.configuration.voters))
        if level is Level.ALL:
            await self._drains.all(at, read=False)
            if not self._engine.leads:
                return [None] * len(ops)
        futures = [self._proposals.add(op) for op in ops]
        fates: list[Fate] = []
        at_indices: list[int | None] = []
        late = False
        for future in futures:
            fate: Fate = None
            at_index: int | None = None
            try:
                if late and not future.done():
                    raise Expired
                applied: Applied = await (future if future.done() else self._site.deadlines.wait(future, at))
                fate = Written(applied.result, required, applied.acked)
                at_index = applied.at_index if applied.result.status == APPLIED else None
            except Expired:
                late = True
                taken_back = self._proposals.withdraw(future)
                future.cancel()
                fate = outcomes.error(outcomes.NOT_TAKEN if taken_back else outcomes.NOT_IN_TIME, required=required)
            except NotProposed:
                pass
            except KvError as error:
                fate = error
            fates.append(fate)
            at_indices.append(at_index)
        return fates if level is not Level.ALL else await self._everywhere(fates, at_indices, at)

    async def _everywhere(self, fates: list[Fate], at_indices: list[int | None], at: float) -> list[Fate]:
        """Level ALL: those that changed something have to be on every voter. They are committed, whatever comes."""
        voters = len(self._engine.configuration.voters)
        missed: dict[int, KvError | None] = {}
        for index in sorted({each for each in at_indices if each is not None}):
            try:
                await self._writes.all_have(index, at)
                missed[index] = None
            except KvError as error:
                missed[index] = error
        told: list[Fate] = []
        for fate, at_index in zip(fates, at_indices, strict=True):
            if at_index is None or not isinstance(fate, Written):
                told.append(fate)
            else:
                told.append(missed[at_index] or Written(fate.result, voters, voters))
        return told

    # -- between nodes

    async def _there(self, leader: str, ops: list[Op], level: Level, at: float) -> list[Fate]:
        async with self._writes.on_the_way(sum(map(commands.op_bytes, ops)), at):
            return await self._sent(leader, ops, level, at)

    async def _sent(self, leader: str, ops: list[Op], level: Level, at: float) -> list[Fate]:
        remaining_ms = max(int((at - self._site.loop.time()) * 1000), 1)
        body, named = [[list(op) for op in ops], level.value, remaining_ms], all(map(commands.is_named, ops))
        unknown: KvError
        try:
            answer = await self._site.calls.call(leader, CALL_WRITES, body, at, while_leading=named, asked=asked_now())
            return self._told(leader, answer, len(ops))
        except Expired:
            unknown = silent(leader)
        except PeerGone:
            if named:
                raise
            unknown = gone(leader)
        except (NotSent, NoLeader):
            return [None] * len(ops)  # it has not seen them, or had just stopped leading
        except KvError as error:
            unknown = error  # the leader's own words, about all of them
        return [unknown] * len(ops)

    def _told(self, leader: str, answer: list[Any], count: int) -> list[Fate]:
        """What the leader answered. Whoever is told of a write here is told a stamp that is not below it."""
        match answer:
            case [[*told], int(ms), int(counter)] if len(told) == count:
                self._clock.resume(ms, counter)
                return [_fate(leader, each) for each in told]
        return [strange(leader)] * count

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        ops, level, timeout_ms = _parse_call(body)
        if not self._engine.leads:
            raise outcomes.error(outcomes.NO_LEADER, "this node does not lead")
        # Each node bounds what its own clients send; all of it together waits here.
        size = self._writes.admit(ops, level)
        try:
            fates = await self._here(ops, level, self._site.in_s(timeout_ms / 1000))
        finally:
            self._writes.release(len(ops), size)
        highest = self._clock.highest()
        return [[_wire(fate) for fate in fates], highest.ms, highest.counter]


def _parts(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """`ops` in their order, in parts that leave room between them for heartbeats on the line to the leader."""
    part: list[Op] = []
    size = 0
    for op in ops:
        op_size = commands.op_bytes(op)
        if part and (size + op_size > limits.BATCH_PART_BYTES_MAX or len(part) >= limits.BATCH_PART_OPS_MAX):
            yield part
            part, size = [], 0
        part.append(op)
        size += op_size
    if part:
        yield part


def _wire(fate: Fate) -> list[Any] | dict[str, Any] | None:
    if isinstance(fate, Written):
        return wire_of(fate)
    return None if fate is None else fate.to_problem()


def _fate(leader: str, told: Any) -> Fate:
    if told is None:
        return None
    if isinstance(told, dict):
        return from_problem(told)
    return written_of(told) or strange(leader)


def _parse_call(body: list[Any]) -> tuple[list[Op], Level, int]:
    match body:
        case [[*items], str(name), int(timeout_ms)] if 0 < len(items) <= limits.BATCH_PART_OPS_MAX:
            ops = [forwarded_op(item) for item in items if isinstance(item, list)]
        case _:
            raise BadRequest("forwarded writes are malformed")
    if len(ops) != len(items) or name not in (Level.QUORUM, Level.ALL) or not 0 < timeout_ms <= limits.TIMEOUT_MS_MAX:
        raise BadRequest("forwarded writes have no valid form, level or timeout")
    return ops, Level(name), timeout_ms

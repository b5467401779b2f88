"""Reads at level ALL: every voter applies what it had acknowledged at level ONE, then all are asked for the key.

1. Drain: each voter's earlier intents are applied (`drains`), so an acknowledged ONE write is in the state, or lost to
   a newer one there.
2. ReadIndex: the index that covers everything acknowledged before the read.
3. Every voter applies up to that index and tells (applied index, mod_revision, digest), the digest computed anew from
   what it really holds. Two different digests at one mod_revision mean that replicas differ: an alarm, never an answer.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kvstore import limits
from kvstore.errors import BadRequest, Divergence, KvError, MembersUnreachable
from kvstore.node.alarms import DIVERGENCE, Alarm, Alarms
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.drains import Drains
from kvstore.node.reads import AppliedWaits, QuorumReads
from kvstore.node.site import Site
from kvstore.state.machine import Machine

CALL_INSPECT: Final = "inspect"
INSPECT_S_MAX: Final = 5.0


class _Held(NamedTuple):
    """What one voter holds: `revision` and `digest` of the key at `applied_index`."""

    voter: str
    applied_index: int
    revision: int
    digest: str


class AllReads:
    """`machine` is asked for each time: a snapshot may replace it."""

    def __init__(
        self,
        site: Site,
        drains: Drains,
        reads: QuorumReads,
        applied: AppliedWaits,
        alarms: Alarms,
        machine: Callable[[], Machine],
    ) -> None:
        self._site = site
        self._drains = drains
        self._reads = reads
        self._applied = applied
        self._alarms = alarms
        self._machine = machine
        site.calls.serve(CALL_INSPECT, self._serve)

    async def check(self, key: bytes, at: float) -> None:
        """Return once this node may answer a read of `key` at level ALL. Raises MembersUnreachable, Divergence."""
        while True:
            voters = await self._drains.all(at, read=True)
            await self._reach(await self._reads.index(at), at)
            if voters == self._site.engine.configuration.voters:
                break  # else somebody votes by now who was not drained
        index = self._site.engine.applied_index
        answers = await asyncio.gather(*(self._ask(name, key, index, at) for name in voters))
        missing = tuple(name for name, held in zip(voters, answers, strict=True) if held is None)
        if missing:
            raise MembersUnreachable(
                f"level all needs every voter; without an answer: {', '.join(missing)}",
                read=True,
                required=len(voters),
                acked=len(voters) - len(missing),
                missing=missing,
            )
        self._compare(key, [held for held in answers if held is not None])

    def _compare(self, key: bytes, answers: list[_Held]) -> None:
        by_revision: dict[int, _Held] = {}
        by_index: dict[int, _Held] = {}
        for held in answers:
            same_revision = by_revision.setdefault(held.revision, held)
            same_index = by_index.setdefault(held.applied_index, held)
            if same_revision.digest != held.digest:
                self._diverged(key, same_revision, held, f"revision {held.revision} of the key")
            if same_index.revision != held.revision:
                self._diverged(key, same_index, held, f"log index {held.applied_index}, under the key")

    def _diverged(self, key: bytes, one: _Held, other: _Held, where: str) -> None:
        detail = f"{one.voter} and {other.voter} hold different content at {where} {key[:64]!r}"
        self._alarms.set(Alarm(DIVERGENCE, other.voter, detail))
        raise Divergence(detail, read=True)

    async def _ask(self, name: str, key: bytes, index: int, at: float) -> _Held | None:
        if name == self._site.engine.name:
            return _Held(name, *self._held(key))
        try:
            answer = await self._site.calls.call(name, CALL_INSPECT, [key, index], at)
        except (Expired, NotSent, PeerGone, KvError):
            return None
        match answer:
            case [int(applied_index), int(revision), str(digest)]:
                return _Held(name, applied_index, revision, digest)
        return None

    def _held(self, key: bytes) -> tuple[int, int, str]:
        machine = self._machine()
        revision, digest = machine.inspect(key)
        return machine.applied_index, revision, f"{digest:016x}"

    async def _reach(self, index: int, at: float) -> None:
        if index <= self._site.engine.applied_index:
            return
        try:
            await self._applied.wait(self._site, index, at)
        except Expired:
            raise MembersUnreachable(
                "this node did not catch up in time", read=True, missing=(self._site.engine.name,)
            ) from None

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        match body:
            case [bytes(key), int(index)] if len(key) <= limits.KEY_BYTES_MAX:
                await self._reach(index, self._site.in_s(INSPECT_S_MAX))
                return [*self._held(key)]
            case _:
                raise BadRequest("a forwarded read at level all is malformed", read=True)

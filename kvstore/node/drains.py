"""Drains: waiting until every voter has applied what it had acknowledged at level ONE.

Level ALL begins with one. Each voter answers once its own applied state covers all that it had acknowledged when it was
asked. Those who wait share rounds, and never join one that has been sent.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

from kvstore import outcomes
from kvstore.errors import KvError, MembersUnreachable
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.intents import IntentLog
from kvstore.node.reads import AppliedWaits
from kvstore.node.site import Site

CALL_DRAIN: Final = "drain"
ROUND_S_MAX: Final = 1.0
PAUSE_S: Final = 0.05


class Drains:
    """`drained` wakes those who wait for this node's own intents; its owner tells it of every position reached."""

    def __init__(self, site: Site, intents: IntentLog, drained: AppliedWaits) -> None:
        self._site = site
        self._intents = intents
        self._drained = drained
        self._waiting: list[asyncio.Future[tuple[str, ...]]] = []
        self._round: asyncio.Task[None] | None = None
        self._unanswered: set[str] = set()
        site.calls.serve(CALL_DRAIN, self._serve)

    async def all(self, at: float, *, read: bool) -> tuple[str, ...]:
        """Return once every voter is drained: who they were. Raises MembersUnreachable, which names who is not."""
        while True:
            unreachable = self._site.engine.unreachable()
            if unreachable:
                raise self._refusal("unreachable", tuple(unreachable), read)
            voters = self._site.engine.configuration.voters
            future: asyncio.Future[tuple[str, ...]] = self._site.loop.create_future()
            self._waiting.append(future)
            if self._round is None:
                self._round = self._site.loop.create_task(self._rounds())
            try:
                missing: tuple[str, ...] = await self._site.deadlines.wait(future, at)
            except Expired:
                raise self._refusal("without an answer", tuple(sorted(self._unanswered)), read) from None
            if not missing and voters == self._site.engine.configuration.voters:
                return voters
            if missing and self._site.loop.time() + ROUND_S_MAX > at:
                raise self._refusal("unreachable, or busy with writes at level one", missing, read)
            await self._pause(at)

    async def _pause(self, at: float) -> None:
        """Wait for a change of leadership, or a moment: a voter may refuse at once, again and again."""
        with suppress(KvError):
            await self._site.leaders.wait_change(min(at, self._site.in_s(PAUSE_S)), read=True)

    def _refusal(self, how: str, missing: tuple[str, ...], read: bool) -> KvError:
        voters = len(self._site.engine.configuration.voters)
        detail = f"level all needs every voter; {how}: {', '.join(missing)}"
        return outcomes.error(outcomes.NOT_DRAINED, detail, read=read, required=voters, missing=missing)

    async def _rounds(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                at = self._site.in_s(ROUND_S_MAX)
                voters = self._site.engine.configuration.voters
                self._unanswered = set(voters)
                answers = await asyncio.gather(*(self._ask(name, at) for name in voters))
                missing = tuple(name for name, drained in zip(voters, answers, strict=True) if not drained)
                for future in asked:
                    if not future.done():
                        future.set_result(missing)
        finally:
            self._round = None

    async def _ask(self, name: str, at: float) -> bool:
        try:
            if name == self._site.engine.name:
                await self.own(at)
            else:
                await self._site.calls.call(name, CALL_DRAIN, [], at)
        except (Expired, NotSent, PeerGone, KvError):
            return False
        self._unanswered.discard(name)
        return True

    async def own(self, at: float) -> None:
        """Wait until this node's own intents of now are applied here. Raises Expired."""
        while True:
            epoch, position = self._intents.epoch, self._intents.last_position
            if position > self._intents.drained_position:
                await self._drained.wait(self._site, position, at)
            if epoch == self._intents.epoch:  # else they were moved, behind that position
                return

    async def _serve(self, _peer: str, _body: list[Any]) -> list[Any]:
        try:
            await self.own(self._site.in_s(ROUND_S_MAX))
        except Expired:
            raise MembersUnreachable("this node's writes at level one are not applied yet") from None
        return []

    def close(self) -> None:
        """Give up the round under way."""
        if self._round is not None:
            self._round.cancel()

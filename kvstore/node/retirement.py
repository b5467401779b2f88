"""A member that is about to be removed takes no more writes at level ONE, and hands over those that it has.

A removed member is not told by the log, and would go on acknowledging what nobody ever gets, and answering reads at
level ONE without what is written at ALL from then on. So the leader asks it to retire first: it refuses both, hands
over, and tells how much is left. If it is not removed after all, it goes back to work once a leader speaks to it after
the time it was given; to one that was removed, none ever does. It stays retired over a restart: by then it may have
been removed without knowing it.
"""

from contextlib import suppress
from typing import Any, Final

import structlog

from kvstore.errors import BadRequest, KvError, StorageFull
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.drains import Drains
from kvstore.node.intents import IntentLog
from kvstore.node.site import Site

log = structlog.get_logger()

CALL_RETIRE: Final = "retire"
RETIRED_S: Final = 30.0
DRAIN_S_MAX: Final = 1.0


class Retirement:
    """Both sides: the member that retires, and the leader that asks for it."""

    def __init__(self, site: Site, drains: Drains, intents: IntentLog) -> None:
        self._site = site
        self._drains = drains
        self._intents = intents
        self._until = site.in_s(0.0)
        site.calls.serve(CALL_RETIRE, self._serve)

    @property
    def retired(self) -> bool:
        """Whether this member answers nothing at level ONE by itself."""
        intents = self._intents
        if intents.retired and self._site.loop.time() > self._until and self._site.engine.leader is not None:
            with suppress(StorageFull):
                intents.retire(False)
        return intents.retired

    async def ask(self, name: str, at: float) -> int | None:
        """Have `name` retire: how many acknowledged writes it still holds that nobody else has; None if it cannot be
        asked.
        """
        try:
            if name == self._site.engine.name:
                return await self._retire()
            answer = await self._site.calls.call(name, CALL_RETIRE, [], at)
        except (Expired, NotSent, PeerGone, KvError):
            return None
        match answer:
            case [int(left)]:
                return left
        return None

    async def _retire(self) -> int:
        self._until = self._site.in_s(RETIRED_S)
        self._intents.retire(True)
        try:
            await self._drains.own(self._site.in_s(DRAIN_S_MAX))
        except Expired:
            log.info("not_drained", pending=len(self._intents))
        return len(self._intents)

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        if body:
            raise BadRequest("a request to retire has no body")
        return [await self._retire()]

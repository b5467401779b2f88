"""What a connection beyond the bound of a door gets."""

import asyncio
from typing import cast

from kvstore import limits


class Refusal(asyncio.Protocol):
    """One answer, `told`, whatever it asks. `refusals` holds those that are open.

    What it sends is thrown away for a moment. A connection that is closed while something unread arrives is reset, and
    its client might never see the answer.
    """

    def __init__(self, told: bytes, refusals: set[asyncio.Transport]) -> None:
        self._told = told
        self._refusals = refusals
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._told)
        if len(self._refusals) >= limits.HTTP_REFUSALS_MAX:
            self._transport.close()
            return
        self._refusals.add(self._transport)
        self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(limits.HTTP_REFUSAL_S_MAX, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refusals.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()

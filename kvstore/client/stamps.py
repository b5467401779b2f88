"""The highest stamp that a client has seen goes along with each of its requests (header KV-Stamp).

A node that is told a stamp puts its next ones above it. So what a client writes at level ONE through one node is above
what it has read or written through another, though the two nodes may not be able to talk to each other.
"""

import re
from typing import Final

from kvstore.client.wire import Reply, Request, Stream, Transport

_HEADER: Final = "KV-Stamp"
# What a node takes; anything else is not sent back to one.
_STAMP: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.((?:[a-z0-9][a-z0-9_.-]*)?)\.([0-9]{1,18})")


class StampedTransport:
    """A transport that remembers the highest stamp of any answer, and tells it with every request."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._highest: tuple[int, int, str, int] = (0, 0, "", 0)
        self._text = ""

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        """See Transport.send."""
        reply = await self._transport.send(endpoint, self._stamped(request), total_s=total_s, idle_s=idle_s)
        self._note(reply.headers.get(_HEADER))
        return reply

    async def open(self, endpoint: str, request: Request, *, begin_s: float, idle_s: float) -> Stream:
        """See Transport.open."""
        stream = await self._transport.open(endpoint, self._stamped(request), begin_s=begin_s, idle_s=idle_s)
        self._note(stream.headers.get(_HEADER))
        return stream

    async def close(self) -> None:
        """Ends every connection."""
        await self._transport.close()

    def _stamped(self, request: Request) -> Request:
        if not self._text:
            return request
        return request._replace(headers={**request.headers, _HEADER: self._text})

    def _note(self, text: str | None) -> None:
        if text is None or text == self._text:
            return
        match = _STAMP.fullmatch(text)
        if match is None:
            return
        stamp = int(match[1]), int(match[2]), match[3], int(match[4])
        if stamp > self._highest:
            self._highest, self._text = stamp, text

"""File descriptors run out at a minority: no new connections, no new files. By order to `kvjepsen.faulty`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck
from kvjepsen.plain import Connection

_LEFT: Final = 2
_TRIES: Final = 6
_ANSWER_S_MAX: Final = 0.5


class Descriptors(Fault):
    """Two more can be opened, and then none."""

    name = "descriptors"
    title = "some nodes can open no more files or connections"
    needs = frozenset({Need.PROCESSES, Need.ORDERS})
    sign = Sign.NODES

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = field.minority()
        struck = Struck(victims)
        try:
            await field.order(victims, descriptors=_LEFT)
            unanswered = 0
            for name in victims:
                unanswered += await _knock(field.cluster.topology.node(name).http_port)
            if unanswered:
                struck.effects.append(f"{unanswered} new connections were not served")
            yield struck
        finally:
            await field.order(victims, descriptors=None)


async def _knock(port: int) -> int:
    """How many of some new connections get no answer."""
    opened: list[Connection] = []
    unanswered = 0
    try:
        for _ in range(_TRIES):
            try:
                connection = await Connection.open(port)
                opened.append(connection)
                await asyncio.wait_for(connection.ask("GET", "/livez"), _ANSWER_S_MAX)
            except (OSError, EOFError, TimeoutError):
                unanswered += 1
    finally:
        for connection in opened:
            with suppress(OSError):
                connection.close()
    return unanswered

"""Carries conversations out, many at a time, and notes every one that does not end as it has to."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from kvcluster.topology import HOST

ENDED_S_MAX: Final = 20.0
ANSWER_BYTES_KEPT: Final = 256 << 10
ODD_KEPT_MAX: Final = 20


@dataclass
class Tally:
    """What came of some conversations. `odd`: the first that did not end as they have to, by number."""

    done: int = 0
    units: int = 0
    bytes_sent: int = 0
    refused: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    odd_total: int = 0
    slowest_s: float = 0.0

    def complain(self, number: int, problem: str) -> None:
        """Conversation `number` went wrong."""
        self.odd_total += 1
        if len(self.odd) < ODD_KEPT_MAX:
            self.odd.append(f"{number}: {problem}")


@dataclass(frozen=True)
class Said:
    """One conversation: `data`, of `units` frames, requests or commands. `hold`: this side does not say that it has
    ended. `closes`: with TLS, it ends the connection once all is said. `leave_s`: it goes away after that; else the
    node has to end it. `judge` looks at the answer.
    """

    data: bytes
    units: int
    ends: str
    hold: bool = False
    closes: bool = False
    leave_s: float | None = None
    judge: Callable[[bytes], str | None] = lambda _answer: None


class _Line(asyncio.Protocol):
    def __init__(self, said: Said) -> None:
        self.said = said
        self.answer = bytearray()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.said.data)
        if self.said.hold:
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        elif self.said.closes:
            self.transport.close()  # TLS has no half of an end

    def data_received(self, data: bytes) -> None:
        if len(self.answer) < ANSWER_BYTES_KEPT:
            self.answer += data

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def converse(said: Said, port: int, number: int, tally: Tally, context: ssl.SSLContext | None = None) -> None:
    """Say it, and wait for the end."""
    begun = time.monotonic()
    loop = asyncio.get_running_loop()
    try:
        _, line = await loop.create_connection(lambda: _Line(said), HOST, port, ssl=context)
    except OSError as problem:  # a handshake may be refused; a port that is closed is a node that has died
        tally.refused += 1
        if isinstance(problem, ConnectionRefusedError):
            tally.complain(number, "nobody listens")
        return
    limit_s = ENDED_S_MAX if said.leave_s is None else said.leave_s
    try:
        async with asyncio.timeout(limit_s):
            await line.over
    except TimeoutError:
        if said.leave_s is None:
            tally.complain(number, f"not ended after {ENDED_S_MAX:g} s")
    finally:
        line.transport.abort()
    tally.done += 1
    tally.units += said.units
    tally.bytes_sent += len(said.data)
    tally.ends[said.ends] += 1
    tally.slowest_s = max(tally.slowest_s, time.monotonic() - begun)
    problem_told = said.judge(bytes(line.answer))
    if problem_told is not None:
        tally.complain(number, problem_told)


def to_json(tally: Tally) -> dict[str, Any]:
    """For the line that a worker prints."""
    return {**tally.__dict__, "ends": dict(tally.ends), "slowest_s": round(tally.slowest_s, 2)}

"""A client of the Redis door for measurements and for the harness: it does what it is told, once.

Nothing is sent a second time, whatever became of it: what is counted, or recorded, is what was asked. There is one
connection at a time. It is opened when something is asked and there is none, and given up as soon as nobody could tell
any more which answer belongs to what: after a timeout, a loss, or bytes that nobody has asked for.

An answer is a reply (bytes, int, None, or a list of them), or the error that stands in its place, as the class that the
HTTP API has for it (kvstore.redis.problems.understood), so that its outcome says whether the command took effect. Of
what was sent and not answered that is `unknown`; where no connection could be opened nothing was sent.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import hiredis

from kvstore import limits
from kvstore.errors import CannotConnect, ConnectionLost, DeadlineExceeded, KvError, LocalError
from kvstore.redis.commands import find
from kvstore.redis.problems import understood
from kvstore.security.client import Tls

Command = tuple[bytes, ...]
Answer = Any
"""A reply, or a KvError or LocalError in its place."""

_PORT_MAX: Final = 65_535


def parsed(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises ValueError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host, int(port)


class RedisClient:
    """One asker; one `ask` at a time. `first`: what every new connection begins with, KV.LEVEL say. `tls`: for a door
    that speaks it.
    """

    def __init__(self, address: str, *first: Command, tls: Tls | None = None) -> None:
        """Raises ValueError, BadCertificates."""
        self._host, self._port = parsed(address)
        self._first = first
        self._context = None if tls is None else tls.context()
        self._line: _Line | None = None

    async def __aenter__(self) -> "RedisClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._line is not None:
            self._line.end("it was closed")
            self._line = None

    async def ask(self, *commands: Command, timeout_s: float) -> list[Answer]:
        """The answer to each; all commands leave together. `timeout_s` counts for everything."""
        until = asyncio.get_running_loop().time() + timeout_s
        try:
            line = await self._connected(until)
        except CannotConnect as nobody:
            return [nobody] * len(commands)
        return await line.ask(commands, until)

    async def one(self, *command: bytes, timeout_s: float) -> Answer:
        """The reply to one command. Raises KvError, or LocalError."""
        (answer,) = await self.ask(command, timeout_s=timeout_s)
        if isinstance(answer, (KvError, LocalError)):
            raise answer
        return answer

    async def _connected(self, until: float) -> "_Line":
        if self._line is not None and not self._line.lost:
            return self._line
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until):
                _, line = await loop.create_connection(_Line, self._host, self._port, ssl=self._context)
        except (OSError, TimeoutError) as failed:
            raise CannotConnect(f"{self._host}:{self._port}: {failed or 'no answer in time'}") from failed
        self._line = line
        if self._first:
            for answer in await line.ask(self._first, until):
                if isinstance(answer, (KvError, LocalError)):
                    line.end("what a connection begins with was refused")
                    raise CannotConnect(f"{self._host}:{self._port}: {answer}")
        return line


class _Refusal(Exception):
    """An error reply as it came."""


class _Line(asyncio.Protocol):
    """One connection. `lost`: of no use any more."""

    def __init__(self) -> None:
        self.lost = False
        self._reader = hiredis.Reader(replyError=_Refusal)
        self._answers: list[Any] = []
        self._wanted = 0
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._late = False
        self._why = ""

    async def ask(self, commands: Sequence[Command], until: float) -> list[Answer]:
        """See RedisClient."""
        assert self._waiter is None, "one at a time"
        loop = asyncio.get_running_loop()
        self._answers, self._wanted, self._bytes = [], len(commands), 0
        self._waiter = loop.create_future()
        self._transport.write(b"".join([hiredis.pack_command(command) for command in commands]))  # type: ignore[arg-type]
        timer = loop.call_at(until, self._end_late)
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.end("who asked has gone")  # the answers would be taken for those of the next
            raise
        finally:
            timer.cancel()
            self._waiter = None
        answers = [
            _understood(command, reply) if isinstance(reply, _Refusal) else reply
            for command, reply in zip(commands, self._answers, strict=False)
        ]
        return answers + [self._unanswered(command) for command in commands[len(answers) :]]

    def _unanswered(self, command: Command) -> KvError | LocalError:
        if self._late:
            return DeadlineExceeded("no answer in time", read=_only_reads(command))
        return ConnectionLost(f"the connection was lost before the answer came: {self._why}")

    def _end_late(self) -> None:
        self._late = True
        self.end("no answer in time")

    def end(self, why: str) -> None:
        """Give it up."""
        if not self.lost:
            self.lost, self._why = True, why
            self._transport.abort()
        self._done()

    def _done(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type

    def data_received(self, data: bytes) -> None:
        if self.lost:
            return
        self._bytes += len(data)
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._answers.append(reply)
                self._bytes = 0
        except hiredis.HiredisError as broken:
            self.end(f"what came is no reply: {broken}")
            return
        if len(self._answers) > self._wanted:
            self.end("an answer came that nobody had asked for")
        elif self._bytes > 2 * limits.REDIS_REPLY_BYTES_MAX:
            self.end("a reply above every bound")
        elif len(self._answers) == self._wanted:
            self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc or "the other side closed it"))


def _only_reads(command: Command) -> bool:
    known = find(command[0])
    return known is not None and known.only_reads


def _understood(command: Command, refusal: _Refusal) -> KvError:
    return understood(str(refusal), read=_only_reads(command))

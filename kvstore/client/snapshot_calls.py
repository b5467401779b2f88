"""Backups, as methods of AsyncClient."""

from typing import Final, Protocol

from kvstore import limits
from kvstore.client.calls import Calls
from kvstore.client.endpoints import query
from kvstore.client.results import foreign
from kvstore.client.retry import Journey, refused
from kvstore.client.wire import AttemptFailed, Broken, Request, Stream
from kvstore.errors import KvError

_BEGIN_S_MIN: Final = 30.0
_SILENCE_S_MAX: Final = 30.0
_HEADERS: Final = {"Accept": "application/octet-stream"}


class Target(Protocol):
    """Where a backup is written to: a binary file, open for writing."""

    def write(self, data: bytes, /) -> object:
        """Take `data`."""

    def seek(self, offset: int, /) -> object:
        """Go on from `offset`."""

    def truncate(self) -> object:
        """Drop what is behind."""


class SnapshotCalls(Calls):
    """See AsyncClient."""

    async def backup(self, file: Target, *, level: str = "quorum", timeout_s: float | None = None) -> int:
        """Write a backup of the whole store to `file`; its size in bytes. With everything that was acknowledged before
        (level quorum), or what the node asked has applied (one). `timeout_s`: within it an endpoint must begin to send;
        30 s at least, because a node may have to write a snapshot first.

        If an endpoint fails halfway, the file is begun anew with the next. Whether it is whole, its own checksums tell:
        `kv snapshot verify`.
        """
        within_s = max(self._within(timeout_s), _BEGIN_S_MIN)
        deadline = self._pacing.now() + within_s
        endpoints = self._failover.endpoints
        journey = Journey(endpoints, write=False, named=False)
        index, attempts = self._failover.first(), 0
        while True:
            failure: KvError | AttemptFailed
            try:
                size = await self._download(endpoints[index], file, level, within_s)
                self._failover.well(index)
                return size
            except (KvError, AttemptFailed) as failed:
                failure = failed
            self._failover.judge(index, failure)
            journey.note(endpoints[index], failure)
            attempts += 1
            if journey.settled(failure) or self._pacing.now() > deadline:
                raise journey.verdict()
            index = (index + 1) % len(endpoints)
            if attempts % len(endpoints) == 0:
                await self._failover.pause(attempts // len(endpoints), failure, deadline)

    async def _download(self, endpoint: str, file: Target, level: str, begin_s: float) -> int:
        timeout_ms = max(1, min(int(begin_s * 900), limits.TIMEOUT_MS_MAX))
        parameters = query([("level", level), ("timeout_ms", timeout_ms)])
        request = Request("GET", "/v1/snapshot", parameters, _HEADERS, None, write=False, timed=False)
        stream = await self._transport.open(endpoint, request, begin_s=begin_s, idle_s=_SILENCE_S_MAX)
        try:
            if stream.status != 200:
                raise await refused(stream)
            length = _length(stream)
            file.seek(0)
            file.truncate()
            size = 0
            while part := await stream.read():
                file.write(part)
                size += len(part)
            if size != length:
                raise Broken(f"{size} of {length} bytes came")
            return size
        finally:
            stream.close()


def _length(stream: Stream) -> int:
    try:
        return int(stream.headers["Content-Length"])
    except (KeyError, ValueError):
        raise foreign("a backup that does not say how long it is", read=True) from None

"""Watches: every change of a key, or of the keys with a prefix, once and in order, whatever happens to the nodes.

1. A watch has a point, `revision`: everything up to it has been handed on, and nothing behind it. A new connection, to
   any endpoint, begins at the revision behind it.
2. The changes of one revision are handed on together, once the last of them has arrived (it alone has an id). If the
   connection ends before that, all of them come again. What lies at or below the point is dropped.
3. A progress event moves the point, too, so that a quiet watch does not fall out of the history.
4. `lagged` and `closed`, a broken connection, a silence and every answer that another endpoint might not give are
   followed by another connection. What is compacted is told (Compacted); so is what no node will ever grant.
5. Nothing runs in the background: who reads slowly lets the node wait, and at last be dropped as lagging; then the
   watch goes on from the history. So what is held here is bounded by one revision and one chunk.
6. A call that is cancelled loses nothing; the next one goes on.
"""

import json
import weakref
from collections import deque
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from kvstore import limits
from kvstore.client.endpoints import query
from kvstore.client.results import bytes_field, foreign, key_json, record_from_json, record_json
from kvstore.client.retry import Failover, Journey, Pacing, refused
from kvstore.client.sse import Event, Parser
from kvstore.client.wire import AttemptFailed, Broken, Request, Stream, Transport
from kvstore.errors import Compacted, InternalError, KvError
from kvstore.model.results import Record

_HEADERS = {"Accept": "text/event-stream"}


class WatchEvent(NamedTuple):
    """One change. For a delete, `value` and `record` are None. `previous`: the record before it, if it was asked for
    and there was one.
    """

    kind: Literal["put", "delete"]
    key: bytes
    revision: int
    record: Record | None
    previous: Record | None

    @property
    def value(self) -> bytes | None:
        """The value that the key has then."""
        return None if self.record is None else self.record.value

    def to_json(self) -> dict[str, Any]:
        """For programs: kind and revision, and the record in the shape of the API."""
        record = key_json(self.key) if self.record is None else record_json(self.key, self.record)
        before = {} if self.previous is None else {"previous": record_json(self.key, self.previous)}
        return {"event": self.kind, "revision": self.revision, **record, **before}


class AsyncWatch:
    """An asynchronous iterator of WatchEvents that does not end by itself; made by `AsyncClient.watch`.

    As an async context manager it has begun when its block does: it sees every change from then on.
    """

    def __init__(
        self,
        failover: Failover,
        transport: Transport,
        pacing: Pacing,
        *,
        key: bytes | None,
        prefix: bytes | None,
        start: int | None,
        previous: bool,
        timeout_s: float,
        patience_s: float | None,
    ) -> None:
        self.revision: int | None = None if start is None else start - 1
        """Everything up to it has been handed on; None until a node has said where the watch begins."""
        self._failover = failover
        self._transport = transport
        self._pacing = pacing
        self._parameters = [
            ("key", key),
            ("prefix", prefix),
            ("previous", "true" if previous else None),
            ("timeout_ms", max(1, min(int(timeout_s * 1000), limits.TIMEOUT_MS_MAX))),
        ]
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._held: list[WatchEvent] = []
        self._held_bytes = 0
        self._ready: deque[WatchEvent] = deque()
        self._line = _Line()
        self._index: int | None = None
        self._begun = False
        self._fruitless = 0
        self._closed = False
        self._finalizer = weakref.finalize(self, self._line.close)

    async def __aenter__(self) -> Self:
        if self._line.stream is None:
            await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: who waits for the next event then sees it end. Harmless when repeated."""
        self._closed = True
        self._finalizer()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next change. Raises Compacted, with the `revision` to begin at; or what the nodes said, when none has
        served for as long as the watch has patience.
        """
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            if self._line.stream is None:
                await self._connect()
            await self._read()
        event = self._ready.popleft()
        self.revision = event.revision if not self._ready or self._ready[0].revision > event.revision else self.revision
        return event

    async def _read(self) -> None:
        stream, parser = self._line.stream, self._line.parser
        if stream is None:
            return
        try:
            chunk = await stream.read()
            if not chunk:
                raise Broken("the node ended the watch")
            for event in parser.feed(chunk):
                self._take(event)
        except AttemptFailed as failed:
            if not self._closed:
                self._drop(failed)
        except ValueError as wrong:
            self._forget()
            raise foreign(f"not a watch ({wrong})", read=True) from wrong
        except InternalError:
            self._forget()
            raise

    def _take(self, event: Event) -> None:
        if self._line.stream is None:
            return
        told = _document(event)
        self._fruitless = 0
        if event.name in ("put", "delete"):
            self._change(event, told)
        elif event.name == "progress":
            if not self._ready:
                self.revision = max(self.revision or 0, int(told["revision"]))
        elif event.name == "compacted":
            self._forget()
            raise Compacted.at(int(told["revision"]), f"the history begins at revision {told['revision']}")
        elif event.name in ("lagged", "closed"):
            self._drop(Broken(f"the node ended the watch: {event.name}"))

    def _change(self, event: Event, told: dict[str, Any]) -> None:
        change = _change(event.name, told)
        if change.revision <= self._point():
            return
        self._held.append(change)
        self._held_bytes += len(event.data)
        if self._held_bytes > limits.CLIENT_WATCH_BYTES_MAX:
            raise foreign("a revision with more changes than one can have", read=True)
        if event.id is not None:
            self._ready.extend(self._held)
            self._held, self._held_bytes = [], 0

    def _point(self) -> int:
        return self._ready[-1].revision if self._ready else self.revision or 0

    def _forget(self) -> None:
        self._line.close()
        self._held, self._held_bytes = [], 0

    def _drop(self, failure: KvError | AttemptFailed) -> None:
        self._forget()
        self._fruitless += 1
        if self._index is not None:
            self._failover.judge(self._index, failure)
            self._index = (self._index + 1) % len(self._failover.endpoints)

    async def _connect(self) -> None:
        """Rule 4: around the endpoints, a pause between the rounds, until one of them serves."""
        began = self._pacing.now()
        patience_s = self._patience_s if self._begun else self._timeout_s
        endpoints = self._failover.endpoints
        journey = Journey(endpoints, write=False, named=False)
        # Connections that begin, and end before they have told anything, count as well.
        attempts = self._fruitless
        while not self._closed:
            if attempts and attempts % len(endpoints) == 0:
                ceiling = min(limits.RETRY_BACKOFF_S_MIN * 2.0 ** min(attempts, 10), limits.CLIENT_WATCH_BACKOFF_S_MAX)
                await self._pacing.sleep(self._pacing.uniform(limits.RETRY_BACKOFF_S_MIN, ceiling))
            index = self._failover.first() if self._index is None else self._index
            self._index = index
            failure: KvError | AttemptFailed
            try:
                await self._attempt(index)
                return
            except (KvError, AttemptFailed) as failed:
                failure = failed
            self._drop(failure)
            journey.note(endpoints[index], failure)  # raises what no other endpoint will grant
            attempts += 1
            over = patience_s is not None and self._pacing.now() - began >= patience_s
            if over or (not self._begun and journey.settled(failure)):
                raise journey.verdict()

    async def _attempt(self, index: int) -> None:
        start = None if self.revision is None else self._point() + 1
        request = Request(
            "GET", "/v1/watch", query([*self._parameters, ("from", start)]), _HEADERS, None, write=False, timed=False
        )
        stream = await self._transport.open(
            self._failover.endpoints[index],
            request,
            begin_s=min(self._timeout_s, limits.READ_ATTEMPT_S_MAX + limits.CONNECT_S_MAX),
            idle_s=limits.CLIENT_WATCH_SILENCE_S_MAX,
        )
        try:
            await self._check(stream)
        except BaseException:
            stream.close()
            raise
        self._line.begin(stream)
        self._begun = True
        self._failover.well(index)

    async def _check(self, stream: Stream) -> None:
        if stream.status != 200 or "event-stream" not in stream.headers.get("Content-Type", ""):
            raise await refused(stream)
        if self.revision is None:
            try:
                self.revision = int(stream.headers["KV-Revision"])
            except (KeyError, ValueError):
                raise foreign("a watch that does not say where it begins", read=True) from None


class _Line:
    """The connection of a watch, so that it can be ended when the watch is forgotten."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.parser = Parser()

    def begin(self, stream: Stream) -> None:
        self.stream = stream
        self.parser = Parser()

    def close(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()


def _document(event: Event) -> dict[str, Any]:
    try:
        told = json.loads(event.data)
        if not isinstance(told, dict) or ("revision" in told and type(told["revision"]) is not int):
            raise ValueError("not an object")
        return told
    except ValueError as wrong:
        raise foreign(f"not an event of a watch ({wrong})", read=True) from wrong


def _change(name: str, told: dict[str, Any]) -> WatchEvent:
    try:
        before = told.get("previous")
        previous = None if before is None else record_from_json(before)[1]
        if name == "delete":
            return WatchEvent("delete", bytes_field(told, "key"), int(told["mod_revision"]), None, previous)
        key, record = record_from_json(told)
        return WatchEvent("put", key, record.mod_revision, record, previous)
    except (KeyError, TypeError, ValueError) as wrong:
        raise foreign(f"not an event of a watch ({wrong!r})", read=True) from wrong

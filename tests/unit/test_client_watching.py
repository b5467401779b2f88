"""Watches of the client over connections that a test scripts: every event once, in order, whatever happens to them."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

import pytest

from kvstore import limits
from kvstore.client.client import AsyncClient
from kvstore.client.retry import Pacing
from kvstore.client.watching import AsyncWatch, WatchEvent
from kvstore.client.wire import AttemptFailed, Broken, NotSent, Reply, Request, Stream, TimedOut
from kvstore.errors import BadRequest, Compacted, InternalError, KvError, NoQuorum, Overloaded

A, B = "http://a:1", "http://b:1"
END = b""

Chunk = bytes | AttemptFailed
Script = KvError | AttemptFailed | Sequence[Chunk]


class Line:
    """An answer that gives its chunks and then ends."""

    def __init__(self, chunks: Sequence[Chunk], revision: int) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"Content-Type": "text/event-stream", "KV-Revision": str(revision)}
        self._chunks = deque(chunks)
        self.closed = False

    async def read(self) -> bytes:
        chunk = self._chunks.popleft() if self._chunks else END
        if isinstance(chunk, AttemptFailed):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed = True


class Problem(Line):
    """An answer that refuses."""

    def __init__(self, error: KvError) -> None:
        super().__init__([json.dumps(error.to_problem()).encode()], 0)
        self.status = error.status
        self.headers = {"Content-Type": "application/problem+json"}


class Net:
    """Connections in the order in which they are opened; `asked` has endpoint and first revision of each."""

    def __init__(self, *scripts: Script, now: int = 4) -> None:
        self._scripts = deque(scripts)
        self._now = now
        self.asked: list[tuple[str, int | None]] = []
        self.lines: list[Line] = []
        self.clock_s = 0.0
        self.pauses = 0

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        raise AssertionError("a watch sends nothing")

    async def open(self, endpoint: str, request: Request, *, begin_s: float, idle_s: float) -> Stream:
        start = parse_qs(request.query).get("from")
        self.asked.append((endpoint, None if start is None else int(start[0])))
        self.clock_s += 0.01
        script = self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]
        if isinstance(script, AttemptFailed):
            raise script
        line = Problem(script) if isinstance(script, KvError) else Line(script, self._now)
        self.lines.append(line)
        return line

    async def close(self) -> None:
        """Nothing is held."""

    async def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.clock_s += seconds

    def watch(self, *, start: int | None = None, patience_s: float | None = None) -> AsyncWatch:
        pacing = Pacing(lambda: self.clock_s, self.pause, lambda _low, high: high)
        client = AsyncClient([A, B], transport=self, pacing=pacing, stamps=False)
        return client.watch(prefix=b"", start=start, patience_s=patience_s)


def put(key: str, revision: int, *, last: bool = True) -> bytes:
    record = {"key": key, "value_base64": "dg==", "create_revision": revision, "mod_revision": revision}
    record |= {"version": 1, "lease": 0, "stamp": "1.0.n1.0"}
    mark = f"id: {revision}\n" if last else ""
    return f"{mark}event: put\ndata: {json.dumps(record)}\n\n".encode()


def control(name: str, revision: int) -> bytes:
    return f'event: {name}\ndata: {{"revision":{revision}}}\n\n'.encode()


async def told(watch: AsyncWatch, count: int) -> list[tuple[str, int]]:
    events: list[WatchEvent] = [await anext(watch) for _ in range(count)]
    return [(event.key.decode(), event.revision) for event in events]


async def test_it_goes_on_at_another_endpoint_behind_what_was_handed_on() -> None:
    net = Net([put("a", 5), put("b", 6), Broken("reset")], [put("c", 7)])
    watch = net.watch()
    assert await told(watch, 3) == [("a", 5), ("b", 6), ("c", 7)]
    assert net.asked == [(A, None), (B, 7)]
    assert watch.revision == 7
    assert net.lines[0].closed


async def test_what_came_of_half_a_revision_is_dropped_and_comes_again_whole() -> None:
    net = Net([put("a", 5, last=False), put("b", 5, last=False), END], [put("a", 5, last=False), put("b", 5)])
    assert await told(net.watch(), 2) == [("a", 5), ("b", 5)]
    assert net.asked == [(A, None), (B, 5)]


async def test_an_event_that_comes_twice_is_handed_on_once() -> None:
    net = Net([put("a", 5), END], [put("a", 5), put("b", 6)])
    assert await told(net.watch(), 2) == [("a", 5), ("b", 6)]


async def test_the_point_stays_within_a_revision_until_all_of_it_was_handed_on() -> None:
    net = Net([put("a", 5, last=False) + put("b", 5)])
    watch = net.watch()
    await anext(watch)
    assert watch.revision == 4
    await anext(watch)
    assert watch.revision == 5


async def test_progress_moves_the_point_so_that_a_quiet_watch_does_not_fall_behind() -> None:
    net = Net([control("progress", 90), END], [put("a", 91)])
    assert await told(net.watch(start=5), 1) == [("a", 91)]
    assert net.asked == [(A, 5), (B, 91)]


async def test_progress_does_not_pass_over_events_that_wait() -> None:
    net = Net([put("a", 5) + control("progress", 9)])
    watch = net.watch()
    await anext(watch)
    assert watch.revision == 5


@pytest.mark.parametrize("why", ["lagged", "closed"])
async def test_a_node_that_ends_the_watch_is_followed_by_another(why: str) -> None:
    net = Net([put("a", 5), control(why, 6)], [put("b", 6)])
    assert await told(net.watch(), 2) == [("a", 5), ("b", 6)]
    assert net.asked == [(A, None), (B, 6)]


@pytest.mark.parametrize("script", [Compacted.at(8, "gone"), [control("compacted", 8)]])
async def test_what_is_compacted_is_told_with_the_revision_to_begin_at(script: Script) -> None:
    net = Net(script)
    with pytest.raises(Compacted) as gone:
        await anext(net.watch(start=3))
    assert gone.value.revision == 8
    assert net.asked == [(A, 3)]


async def test_a_silence_and_every_passing_refusal_are_followed_by_another_connection() -> None:
    net = Net([TimedOut("silence")], Overloaded("full"), NotSent("refused"), NoQuorum("lost"), [put("a", 5)])
    assert await told(net.watch(), 1) == [("a", 5)]
    assert [endpoint for endpoint, _ in net.asked] == [A, B, A, B, A]
    assert net.pauses == 2


async def test_a_request_that_no_node_will_ever_grant_ends_it() -> None:
    net = Net(BadRequest("no"))
    with pytest.raises(BadRequest):
        await anext(net.watch())
    assert len(net.asked) == 1


async def test_a_watch_that_never_began_gives_up_in_time_and_one_that_had_begun_goes_on() -> None:
    with pytest.raises(NoQuorum):
        await anext(Net(NoQuorum("lost")).watch())
    patient = Net([put("a", 5), END], *[NoQuorum("lost")] * 500, [put("b", 6)])
    assert await told(patient.watch(), 2) == [("a", 5), ("b", 6)]
    impatient = Net([put("a", 5), END], NoQuorum("lost"))
    watch = impatient.watch(patience_s=3.0)
    await anext(watch)
    with pytest.raises(NoQuorum):
        await anext(watch)
    assert 3.0 <= impatient.clock_s < 3.0 + 2 * limits.CLIENT_WATCH_BACKOFF_S_MAX


async def test_connections_that_begin_and_tell_nothing_do_not_make_a_busy_loop() -> None:
    net = Net(*[[END]] * 40, [put("a", 5)])
    assert await told(net.watch(), 1) == [("a", 5)]
    assert net.pauses >= 19


@pytest.mark.parametrize("garbage", [b"event: put\ndata: 5\n\n", b"event: put\ndata: {}\n\n", b"\xff\xfe\n\n"])
async def test_what_is_no_event_is_a_fault_of_the_server(garbage: bytes) -> None:
    with pytest.raises(InternalError):
        await anext(Net([garbage]).watch())


async def test_one_that_is_closed_ends() -> None:
    net = Net([put("a", 5), put("b", 6)])
    watch = net.watch()
    await anext(watch)
    watch.close()
    assert [event async for event in watch] == []
    assert net.lines[0].closed

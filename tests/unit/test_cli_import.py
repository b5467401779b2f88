"""What `kv import` does when writes fail: which are written again, in what order, and when it gives up."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from kvcli.exit_codes import Exit
from kvcli.importer import Importer, Summary
from kvcli.progress import Progress
from kvcli.sources import Item, Problem
from kvstore.client import WriteResult
from kvstore.errors import (
    BadRequest,
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    KvError,
    LocalError,
    NoQuorum,
)
from kvstore.model.levels import Level


class FakeClient:
    """Keeps what is put; `fails(key, try number)` may return an error to raise instead."""

    retries = 0

    def __init__(self, fails: Callable[[bytes, int], Exception | None] = lambda key, number: None) -> None:
        self.fails = fails
        self.tries: dict[bytes, int] = {}
        self.stored: dict[bytes, bytes] = {}
        self.running: dict[bytes, int] = {}
        self.most_running = 0
        self.overlapped = False

    async def put(self, key: bytes, value: bytes, *, level: str) -> WriteResult:
        self.overlapped |= self.running.get(key, 0) > 0
        self.running[key] = self.running.get(key, 0) + 1
        self.most_running = max(self.most_running, sum(self.running.values()))
        try:
            # Later values of a key are faster: without order they would be overtaken by earlier ones.
            for _ in range(10 - len(self.stored) % 10):
                await asyncio.sleep(0)
            self.tries[key] = self.tries.get(key, 0) + 1
            error = self.fails(key, self.tries[key])
            if error is not None:
                raise error
            self.stored[key] = value
        finally:
            self.running[key] -= 1
        return WriteResult(key, 1, 1, Level(level), 1, 1, "committed", None)


async def source(*items: Item | Problem) -> AsyncIterator[Item | Problem]:
    for item in items:
        yield item


async def run(
    client: FakeClient, *items: Item | Problem, in_flight: int = 8, give_up_s: float = 60.0
) -> tuple[Summary, Progress]:
    progress = Progress("imported")
    importer = Importer(client, level="quorum", in_flight=in_flight, give_up_s=give_up_s, progress=progress)  # type: ignore[arg-type]
    return await importer.run(source(*items)), progress


def items(count: int) -> list[Item]:
    return [Item(f"k{number}".encode(), f"v{number}".encode(), f"f:{number}") for number in range(count)]


async def test_everything_is_written_with_many_writes_in_flight() -> None:
    client = FakeClient()
    summary, progress = await run(client, *items(100))
    assert client.stored == {item.key: item.value for item in items(100)}
    assert client.most_running == 8
    assert (summary.keys, summary.bytes, summary.exit_code) == (100, 290, Exit.OK)
    assert (progress.keys, progress.bytes) == (100, 290)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost("reset"),
        DeadlineExceeded("late"),
        DeadlineExceeded("level not met", outcome="committed"),
        CannotConnect("refused"),
        NoQuorum("lost"),
    ],
)
async def test_a_failed_write_is_written_again_until_it_is_acknowledged(error: Exception) -> None:
    client = FakeClient(lambda key, number: error if key == b"k3" and number <= 3 else None)
    summary, _ = await run(client, *items(10))
    assert client.tries[b"k3"] == 4
    assert (summary.keys, summary.retries, summary.exit_code) == (10, 3, Exit.OK)


async def test_a_key_that_comes_twice_keeps_its_last_value() -> None:
    lines = [Item(b"same", f"{number}".encode(), "f") for number in range(20)]
    client = FakeClient(lambda key, number: ConnectionLost("reset") if number % 3 == 0 else None)
    summary, _ = await run(client, *lines)
    assert client.stored == {b"same": b"19"}
    assert not client.overlapped
    assert summary.keys == 20


async def test_a_write_that_is_refused_for_good_is_listed_and_the_rest_goes_on() -> None:
    client = FakeClient(lambda key, number: BadRequest("no") if key == b"k3" else None)
    summary, _ = await run(client, *items(10))
    assert (summary.keys, client.tries[b"k3"], summary.exit_code) == (9, 1, Exit.INVALID)
    assert summary.to_json()["failed"] == [{"where": "f:3", "reason": "no"}]


async def test_what_a_rule_skips_is_no_failure() -> None:
    summary, _ = await run(FakeClient(), Problem("link", "a symbolic link", by_rule=True), *items(1))
    assert (summary.exit_code, summary.to_json()["complete"]) == (Exit.OK, True)
    assert summary.to_json()["skipped"] == [{"where": "link", "reason": "a symbolic link"}]


async def test_what_could_not_be_read_makes_the_import_incomplete() -> None:
    summary, _ = await run(FakeClient(), Problem("file", "no permission", by_rule=False), *items(1))
    assert (summary.keys, summary.exit_code, summary.to_json()["complete"]) == (1, Exit.INVALID, False)


@pytest.mark.parametrize("error", [NoQuorum("lost"), CannotConnect("refused"), ConnectionLost("reset")])
async def test_it_gives_up_with_the_code_of_what_stopped_it(error: KvError | LocalError) -> None:
    client = FakeClient(lambda key, number: error if int(key[1:]) >= 50 else None)
    async with asyncio.timeout(5):
        summary, _ = await run(client, *items(1_000), give_up_s=0.0)
    assert summary.exit_code == error.exit_code
    assert 50 - 8 <= summary.keys <= 50
    assert len(client.tries) <= 50 + 8


async def test_a_source_that_breaks_ends_the_import_with_its_own_error() -> None:
    async def broken() -> AsyncIterator[Item | Problem]:
        yield items(1)[0]
        raise OSError(5, "input/output error")

    progress = Progress("imported")
    importer = Importer(FakeClient(), level="quorum", in_flight=4, give_up_s=1.0, progress=progress)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="input/output"):
        await importer.run(broken())

"""Redis doors with a bug: each takes one promise of docs/redis.md away, and a run through that door has to find it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from kvstore.model.levels import Level
from kvstore.redis import changes
from kvstore.redis.changes import Changes
from kvstore.redis.lane import Lane
from kvstore.redis.replies import Reply
from kvstore.redis.view import Call


@contextmanager
def watch_ignored() -> Iterator[None]:
    """EXEC does not look at what was watched."""

    async def carry_out(
        self: Changes, calls: Sequence[Call], level: Level, watched: Mapping[bytes, int]
    ) -> list[Reply]:
        return await whole(self, calls, level, {})

    whole = Changes.carry_out
    with mock.patch.object(Changes, "carry_out", carry_out):
        yield


@contextmanager
def nothing_compared() -> Iterator[None]:
    """What a command has computed from what it read is written, whoever has written in between: INCRs are lost."""

    def operation(writes: Any, compared: Any, granted: Any) -> Any:
        return whole(writes, {}, granted)

    whole = changes._operation
    with mock.patch.object(changes, "_operation", operation):
        yield


@contextmanager
def gets_unasked() -> Iterator[None]:
    """A GET at QUORUM is answered from here and now, without asking whether it is the latest."""

    def fresh(self: Lane, level: Level, done: Any) -> None:
        done(None)

    with mock.patch.object(Lane, "fresh", fresh):
        yield

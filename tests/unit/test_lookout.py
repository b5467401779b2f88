"""The lookout tells of commits that stall, once, and of their end; and has the members compared where it leads."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kvstore.consensus.engine import Status
from kvstore.node import lookout
from kvstore.node.lookout import Lookout
from kvstore.telemetry.trace import ProtocolTrace


class Engine:
    def __init__(self) -> None:
        self.leads = True
        self.term, self.commit, self.last = 3, 10, 10

    def status(self) -> Status:
        role = "leader" if self.leads else "follower"
        return Status(role, "n1", self.term, self.commit, self.commit, self.last, {"n2": 4}, {})


class Clockwork:
    """A loop of which only the time is asked, and which runs nothing by itself."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tasks: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_later(self, _delay: float, _callback: object) -> Any:
        return SimpleNamespace(cancel=lambda: None)

    def create_task(self, coroutine: Any) -> Any:
        self.tasks.append(coroutine)
        return SimpleNamespace(cancel=coroutine.close)


@pytest.fixture
def made() -> Iterator[tuple[Lookout, Engine, Clockwork, ProtocolTrace]]:
    engine, loop, trace = Engine(), Clockwork(), ProtocolTrace("n1", lambda: 0)

    async def cluster() -> None:
        pass

    node: Any = SimpleNamespace(engine=engine, trace=trace, cluster=cluster)
    yield Lookout(node, loop), engine, loop, trace  # type: ignore[arg-type]
    for task in loop.tasks:
        task.close()


def looked(made: tuple[Lookout, Engine, Clockwork, ProtocolTrace], seconds: int) -> None:
    for _ in range(seconds):
        made[2].now += lookout.LOOK_EVERY_S
        made[0]._look()


def test_a_stall_is_told_once_and_its_end_too(made: tuple[Lookout, Engine, Clockwork, ProtocolTrace]) -> None:
    watching, engine, _, trace = made
    looked(made, 5)
    assert watching.stalled_s == 0
    engine.last = 12
    looked(made, 9)
    assert watching.stalled_s == 8
    assert trace.counts == {"commit_stalled": 1}
    engine.commit = 11
    looked(made, 1)
    assert (watching.stalled_s, trace.counts["commit_resumed"]) == (0, 1)
    engine.commit = 12
    looked(made, 3)
    assert watching.stalled_s == 0


def test_commits_that_go_on_are_no_stall_however_much_waits(
    made: tuple[Lookout, Engine, Clockwork, ProtocolTrace],
) -> None:
    watching, engine, _, trace = made
    for _ in range(20):
        engine.commit += 1
        engine.last = engine.commit + 1_000
        looked(made, 1)
        assert watching.stalled_s == 0
    engine.leads = False
    looked(made, 20)
    assert watching.stalled_s == 0
    assert not trace.counts


def test_the_leader_has_the_members_compared_one_comparison_at_a_time(
    made: tuple[Lookout, Engine, Clockwork, ProtocolTrace],
) -> None:
    _, engine, loop, _ = made
    engine.leads = False
    looked(made, 40)
    assert loop.tasks == []
    engine.leads = True
    looked(made, 40)
    assert len(loop.tasks) == 1  # it has not ended yet
    asyncio.run(loop.tasks[0])
    looked(made, 1)
    assert len(loop.tasks) == 2

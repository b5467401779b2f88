"""Fact 15: an exception while applying is retried at every tick.

Engine: `SyncObj.__applyLogEntries` lets it through, `SyncObj._autoTickThread` logs it and ticks again; the callback is
forgotten at the first attempt.
Here: `__applyLogEntries` is replaced by `Applier.slice`; an exception stops the member (`Member._fail`), and the
node says index and command (`node.service.ApplyFailed`).
"""

from pathlib import Path
from typing import Any

import pytest

from kvstore.model import commands
from kvstore.model.levels import Level
from kvstore.model.results import WriteAnswer
from kvstore.node.service import Node
from kvstore.state.machine import Machine
from kvstore.testing import SimCluster
from regressions.published import published
from tests.support.lab import Lab


def test_the_published_engine_tries_again_for_ever_and_goes_on_leading(tmp_path: Path) -> None:
    found = published("retried_apply", tmp_path)
    assert found["attempts"] > 50
    assert found["still_leads"]
    assert found["committed_behind_applied"] == 2
    assert found["answers"] == found["answers_to_the_next_write"] == []


def test_here_the_member_stops_at_the_first_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab("a")
    node = lab.elect()
    attempts: list[int] = []

    def fail(index: int, term: int, command: bytes) -> Any:
        attempts.append(index)
        raise ValueError("this cannot be applied")

    monkeypatch.setattr(node, "apply", fail)
    outcome = node.propose(b"x")
    lab.advance(5.0)
    assert len(attempts) == 1
    assert isinstance(node.error, ValueError)
    assert len(outcome) == 1
    assert outcome[0].outcome == "unknown"
    assert node.propose(b"y") == []
    assert node.log == []


async def write(node: Node) -> WriteAnswer:
    return await node.put(b"poison", b"v", level=Level.QUORUM, condition=None, timeout_s=3.0)


def test_here_the_node_says_which_entry_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Machine.apply

    def fail(machine: Machine, index: int, term: int, command: commands.Command) -> Any:
        if command.ops[0][1] == b"poison":
            raise ValueError("this cannot be applied")
        return apply(machine, index, term, command)

    cluster = SimCluster(["a"], seed=1)
    try:
        cluster.start_all()
        cluster.run_for(3.0)
        monkeypatch.setattr(Machine, "apply", fail)
        index = cluster.digests()["a"][0] + 1
        with pytest.raises(AssertionError, match=rf"log index {index}, .*the command is .*poison"):
            cluster.run(cluster.call("a", write))
    finally:
        cluster.close()

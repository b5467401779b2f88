"""Fact 9: a forwarded command whose reply is lost never calls back.

Engine: `SyncObj._checkCommandsToApply` keeps the callback in `__commandsWaitingReply` until the leader changes.
Here: the engine's queue and forwarding are not used (`Core._checkCommandsToApply`); `node.calls.Calls` forwards, with a
deadline, and ends what waits for a peer whose connection is gone.
"""

from pathlib import Path

import pytest

from kvstore.errors import DeadlineExceeded
from kvstore.model.levels import Level
from kvstore.model.results import WriteAnswer
from kvstore.node.service import Node
from kvstore.testing import SimCluster
from regressions.published import published

TIMEOUT_S = 3.0


def test_the_published_engine_applies_it_and_never_answers(tmp_path: Path) -> None:
    found = published("lost_reply", tmp_path)
    assert found["lost"] == ["apply_command_response"]
    assert found["applied_by"] == ["a", "b", "c"]
    assert found["same_leader"]
    assert found["answers_after_two_minutes"] == []


async def write(node: Node) -> WriteAnswer:
    return await node.put(b"k", b"v", level=Level.QUORUM, condition=None, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("reset", [False, True])
def test_here_the_outcome_is_told_as_unknown_in_time(reset: bool) -> None:
    cluster = SimCluster(["a", "b", "c"], seed=9)
    try:
        cluster.start_all()
        cluster.run_for(3.0)
        leader = cluster.leader()
        assert leader is not None
        asked = next(name for name in cluster.names if name != leader)
        began = cluster.time.now
        cluster.network.block(leader, asked)
        answer = cluster.call(asked, write)
        cluster.run_for(0.05)
        if reset:
            cluster.network.reset(leader, asked)
        with pytest.raises(DeadlineExceeded) as told:
            cluster.run(answer)
        assert told.value.outcome == "unknown"
        assert cluster.time.now - began < (0.5 if reset else TIMEOUT_S + 0.5)
        cluster.network.heal_all()
        cluster.run_for(3.0)
        records = [node.machine.get(b"k") for name in cluster.names if (node := cluster.node(name)) is not None]
        assert [record is not None and record.value for record in records] == [b"v"] * 3
    finally:
        cluster.close()

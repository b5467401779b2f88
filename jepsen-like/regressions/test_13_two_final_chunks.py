"""Fact 13: a command a little shorter than a multiple of the batch size is sent with two final chunks.

Engine: `SyncObj.__sendAppendEntries` compares with the command's length, but cuts up its pickle, which is longer; the
follower cannot read what the first final chunk completes, and the exception leaves its tick.
Here: `__sendAppendEntries` is replaced, and that path is never used: `Leadership._send_entries` sends whole entries.
"""

from pathlib import Path

import pytest

from regressions.published import published
from tests.support.lab import Lab

BATCH_BYTES = 2**16


def test_a_published_follower_raises_out_of_its_tick(tmp_path: Path) -> None:
    found = published("two_final_chunks", tmp_path)
    assert found["chunks"] == [["start", "finish", "finish"]]
    assert found["errors"] == ["EOFError"]


@pytest.mark.parametrize("size", [k * BATCH_BYTES - short for k in (1, 2, 3) for short in (64, 24, 1, 0)])
def test_here_such_a_command_is_one_like_any_other(size: int) -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    command = bytes(size)
    outcome = leader.propose(command)
    lab.advance(0.2)
    assert outcome == [command]
    assert [node.log for node in lab.nodes.values()] == [[command]] * 3
    assert [node.error for node in lab.nodes.values()] == [None] * 3

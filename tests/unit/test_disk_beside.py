"""A leader whose disk works beside its loop: what counts, and what waits for it."""

import asyncio
import errno
import threading

import pytest

from kvstore.consensus import messages as wire
from kvstore.consensus.disk_thread import DiskThread
from kvstore.consensus.journal import JournalFailed
from tests.support.lab import Lab, LabNode


@pytest.fixture
def lab() -> Lab:
    return Lab("n1", "n2", "n3")


def slow_leader(lab: Lab) -> tuple[LabNode, LabNode, LabNode]:
    """A leader whose fsyncs end by hand, and the other two."""
    leader = lab.elect()
    leader.slow_disk = True
    first, second = (node for node in lab.nodes.values() if node is not leader)
    return leader, first, second


def test_two_others_commit_what_the_leader_has_not_on_its_own_disk_yet(lab: Lab) -> None:
    leader, first, second = slow_leader(lab)
    outcome = leader.propose(b"x")
    index = leader.journal.entries[-1][1]
    lab.deliver((leader.name, first.name))
    lab.deliver((first.name, leader.name))
    assert (outcome, leader.journal.durable_index) == ([], index - 1), "one of three is no majority"
    lab.deliver((leader.name, second.name))
    lab.deliver((second.name, leader.name))
    assert (outcome, leader.log) == ([b"x"], [b"x"])
    assert leader.member.holders(index) == 2
    leader.finish()
    assert leader.member.holders(index) == 3


def test_a_leader_counts_its_own_copy_when_its_fsync_has_ended(lab: Lab) -> None:
    leader, first, _ = slow_leader(lab)
    outcome = leader.propose(b"x")
    lab.deliver((leader.name, first.name))
    lab.deliver((first.name, leader.name))
    assert outcome == []
    leader.finish()
    leader.run()
    assert outcome == [b"x"]


def test_what_comes_while_the_disk_works_is_one_group_after_it(lab: Lab) -> None:
    leader, _, _ = slow_leader(lab)
    before = leader.journal.entries[-1][1]
    for command in (b"x", b"y", b"z"):
        leader.propose(command)
    leader.finish()
    leader.run()
    assert leader.journal.durable_index == before + 1
    leader.finish()
    assert (leader.journal.durable_index, leader.under_way) == (before + 3, None)


def test_a_leader_that_is_replaced_answers_nothing_before_what_was_under_way_is_durable(lab: Lab) -> None:
    leader, first, _ = slow_leader(lab)
    before = leader.journal.entries[-1]
    leader.propose(b"x")
    index, term = leader.journal.entries[-1][1], leader.member.term
    assert leader.under_way is not None
    other = wire.Append(term + 1, 1, before[1], before[2], before[1], False, False, [(term + 1, b"\x00y")])
    leader.member.peer_message(first.name, other)
    leader.run()
    assert leader.under_way is None
    assert leader.journal.entries[-1] == (b"\x00y", index, term + 1)
    assert leader.journal.durable_index == index
    again = LabNode(lab, leader.name, leader.disk)
    assert again.journal.entries == leader.journal.entries


def test_an_fsync_that_fails_beside_the_loop_stops_the_node(lab: Lab) -> None:
    leader, first, _ = slow_leader(lab)
    outcome = leader.propose(b"x")
    leader.disk.failing["sync"] = errno.EIO
    leader.finish()
    lab.deliver((leader.name, first.name))
    lab.deliver((first.name, leader.name))
    leader.run()
    assert isinstance(leader.error, JournalFailed)
    assert leader.log == []
    assert len(outcome) == 1
    assert isinstance(outcome[0], Exception)


async def test_the_thread_tells_each_end_once_on_the_loop() -> None:
    thread = DiskThread(asyncio.get_running_loop())
    told: asyncio.Queue[tuple[int, OSError | None]] = asyncio.Queue()
    for number in range(3):
        thread.start(lambda: None, lambda error, number=number: told.put_nowait((number, error)))  # type: ignore[misc]
        assert await told.get() == (number, None)
    broken = OSError(errno.EIO, "no")

    def fail() -> None:
        raise broken

    thread.start(fail, lambda error: told.put_nowait((3, error)))
    assert await told.get() == (3, broken)
    thread.close()
    assert told.empty()


async def test_who_cannot_wait_for_the_loop_is_told_before_finish_returns() -> None:
    thread = DiskThread(asyncio.get_running_loop())
    go, told = threading.Event(), []
    thread.start(go.wait, told.append)  # type: ignore[arg-type]
    assert told == []
    go.set()
    thread.finish()
    assert told == [None]
    turned = asyncio.Event()
    thread.start(lambda: None, lambda error: (told.append(error), turned.set())[0])
    await turned.wait()
    assert told == [None, None], "the first is not told again"
    thread.close()

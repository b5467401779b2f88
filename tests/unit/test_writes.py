"""Writes that wait: whoever gives up leaves nothing behind, even while nothing is proposed."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvstore import limits
from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.engine import Engine
from kvstore.errors import BadRequest, DeadlineExceeded, KvError, Overloaded, from_problem
from kvstore.model import commands
from kvstore.model.levels import Level
from kvstore.model.stamp import ZERO_STAMP
from kvstore.node.batched_writes import BatchedWrites
from kvstore.node.calls import Calls
from kvstore.node.deadlines import Deadlines
from kvstore.node.drains import Drains
from kvstore.node.features import Features
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.leadership import LeaderWatch
from kvstore.node.proposals import Proposals
from kvstore.node.site import Site
from kvstore.node.writes import Writes
from kvstore.state.machine import Machine


class _Stalled:
    """An engine that leads and never asks for proposals, as one does whose disk is full."""

    name = "n1"
    leads = True
    leader = "n1"
    configuration = Configuration(1, (Member("n1", "", "", True, ""),))

    def kick(self) -> None:
        """Nothing happens."""

    def storage_full(self) -> bool:
        return False


def stalled_writes() -> tuple[Writes, Proposals]:
    """Writes of a leader that never gets to propose anything, and its queue."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, bucket_s=0.001)
    engine = cast(Engine, _Stalled())
    calls = Calls(loop, deadlines, lambda _peer, _message: False, first_id=1)
    leaders = LeaderWatch(loop, deadlines, engine, patience_s=1.0)
    site = Site(loop, deadlines, engine, calls, leaders)
    proposals = Proposals(loop, engine, lambda: ZERO_STAMP, lambda: 0)
    return Writes(site, proposals, cast(Drains, None), cast(HybridClock, None), Features(site, Machine)), proposals


def batches_of(writes: Writes, proposals: Proposals, clock: HybridClock | None = None) -> BatchedWrites:
    return BatchedWrites(writes._site, proposals, cast(Drains, None), writes, cast(HybridClock, clock))


async def test_writes_that_were_given_up_do_not_stay_queued() -> None:
    writes, proposals = stalled_writes()

    async def give_up(number: int) -> None:
        with pytest.raises(Overloaded, match="did not take it into its log") as refused:
            await writes.write(commands.put(b"%d" % number, bytes(1_000)), Level.QUORUM, 0.001)
        assert refused.value.outcome == "not_applied"

    for turn in range(10):
        await asyncio.gather(*(give_up(100 * turn + number) for number in range(100)))
    assert len(proposals) == 0


async def test_batches_that_were_given_up_do_not_stay_queued() -> None:
    writes, proposals = stalled_writes()
    batched = batches_of(writes, proposals)
    at = asyncio.get_running_loop().time() + 0.005
    ops = [commands.put(b"%d" % number, b"v") for number in range(2_000)]
    told = await asyncio.gather(*(batched.write(ops, Level.QUORUM, at) for _ in range(3)))
    assert {(type(each), each.outcome) for part in told for each in part if isinstance(each, KvError)} == {
        (Overloaded, "not_applied")
    }
    assert [len(part) for part in told] == [2_000] * 3
    assert len(proposals) == 0
    assert writes.open == (0, 0)


async def test_batches_are_bounded_together_with_all_other_writes() -> None:
    writes, proposals = stalled_writes()
    batched = batches_of(writes, proposals)
    at = asyncio.get_running_loop().time() + 0.05
    ops = [commands.put(b"%d" % number, b"v") for number in range(1_000)]
    rounds = limits.PROPOSALS_PENDING_MAX // 1_000 + 2
    told = await asyncio.gather(*(batched.write(ops, Level.QUORUM, at) for _ in range(rounds)))
    refused = [part for part in told if "waiting already" in str(part[0])]
    assert len(refused) == 2
    assert writes.open == (0, 0)


@pytest.mark.parametrize(
    "body",
    [
        [],
        [[], "quorum", 1],
        [[list(commands.put(b"k", b"v"))], "one", 1],
        [[list(commands.put(b"k", b"v"))], "quorum", 0],
        [[list(commands.put(b"k", b"v")), 7], "quorum", 1],
        [[list(commands.put(b"", b"v"))], "quorum", 1],
        [[list(commands.put(b"k", b"v"))] * (limits.BATCH_PART_OPS_MAX + 1), "quorum", 1],
        [[[9, b"k"]], "quorum", 1],
    ],
)
async def test_a_forwarded_batch_that_is_malformed_is_refused(body: list[Any]) -> None:
    writes, proposals = stalled_writes()
    with pytest.raises(BadRequest):
        await batches_of(writes, proposals)._serve("n2", body)
    assert writes.open == (0, 0)


@pytest.mark.parametrize("answer", [[], [[], 1, 1], [[[0, 1, 1, 2, 2]], "x", 1], [[[0, 1, 1]], 1, 1], [[7], 1, 1]])
async def test_an_answer_of_the_leader_that_is_not_understood_leaves_the_write_unknown(answer: list[Any]) -> None:
    writes, proposals = stalled_writes()
    clock = cast(HybridClock, SimpleNamespace(resume=lambda ms, counter: None))
    (fate,) = batches_of(writes, proposals, clock)._told("n2", answer, 1)
    assert isinstance(fate, DeadlineExceeded)
    assert fate.outcome == "unknown"


async def test_a_leader_admits_what_other_nodes_send_only_up_to_its_bound() -> None:
    writes, _ = stalled_writes()
    size = limits.VALUE_BYTES_MAX
    body = [list(commands.put(b"key", bytes(size))), "quorum", 1]
    room = limits.PROPOSALS_PENDING_BYTES_MAX // size
    ends = await asyncio.gather(*(writes._serve("n2", body) for _ in range(2 * room)), return_exceptions=True)
    assert [type(end) for end in ends] == [Overloaded] * (2 * room)
    waited = [end for end in ends if isinstance(end, Overloaded) and "did not take it" in end.detail]
    assert 0 < len(waited) <= room
    assert writes.open == (0, 0)
    # What a peer refused is refused to the client with a time to come back, although none travels between nodes.
    refused = next(end for end in ends if isinstance(end, Overloaded))
    assert from_problem(refused.to_problem()).retry_after_s == 1.0

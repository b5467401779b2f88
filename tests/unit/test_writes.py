"""Writes that wait: whoever gives up leaves nothing behind, even while nothing is proposed."""

import asyncio
from typing import cast

import pytest

from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.engine import Engine
from kvstore.errors import DeadlineExceeded
from kvstore.model import commands
from kvstore.model.levels import Level
from kvstore.model.stamp import ZERO_STAMP
from kvstore.node.calls import Calls
from kvstore.node.deadlines import Deadlines
from kvstore.node.drains import Drains
from kvstore.node.leadership import LeaderWatch
from kvstore.node.proposals import Proposals
from kvstore.node.site import Site
from kvstore.node.writes import Writes


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


async def test_writes_that_were_given_up_do_not_stay_queued() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, bucket_s=0.001)
    engine = cast(Engine, _Stalled())
    calls = Calls(loop, deadlines, lambda _peer, _message: False, first_id=1)
    leaders = LeaderWatch(loop, deadlines, engine, patience_s=1.0)
    site = Site(loop, deadlines, engine, calls, leaders)
    proposals = Proposals(loop, engine, lambda: ZERO_STAMP, lambda: 0)
    writes = Writes(site, proposals, cast(Drains, None))

    async def give_up(number: int) -> None:
        with pytest.raises(DeadlineExceeded):
            await writes.write(commands.put(b"%d" % number, bytes(1_000)), Level.QUORUM, 0.001)

    for turn in range(10):
        await asyncio.gather(*(give_up(100 * turn + number) for number in range(100)))
    assert len(proposals) <= 2

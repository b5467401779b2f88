"""One trial, on whatever it is made: a real cluster (live.py) or a simulated one (simulated.py).

All voters healthy and caught up -> the leader inside or outside of the subset -> the subset fails -> a fixed time to
settle -> one write per level -> everything is restored -> what was acknowledged is looked for.

The time to settle depends on the election timeouts alone: the leader notices the loss of its majority within one, an
election ends within another, and SETTLE_ELECTIONS leaves half of one more. Whether the writes are served has no part
in it.

The writes at ALL and QUORUM go first, at the same time; that at ONE follows when both have ended. An earlier write at
ONE could hold up one at ALL, which waits until every voter has applied its pending ones, and none of the others can
hold up a write at ONE, which needs nothing but its node's disk. ALL and QUORUM do not wait for each other.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from kvcluster.supervisor import NotReady
from kvjepsen.odds.health import Health
from kvjepsen.odds.observation import Observation
from kvjepsen.odds.plan import Fault, Trial
from kvjepsen.odds.writing import Attempt, Written, write

SETTLE_ELECTIONS: Final = 2.5
HEALTHY_S_MAX: Final = 30.0
DEADLINE_S: Final = 2.0
POLL_S: Final = 0.02


class Ground(Protocol):
    """A cluster that can be broken and asked. Calls that ask one node raise nothing for what it does not answer."""

    @property
    def names(self) -> Sequence[str]:
        """The nodes."""
        ...

    async def health(self) -> Health:
        """Whether all nodes run, name one leader, reach each other, and have applied everything."""
        ...

    async def transfer(self, leader: str, to: str) -> None:
        """Ask `leader` to hand over."""
        ...

    async def fail(self, failed: Sequence[str], fault: Fault) -> None:
        """Let them fail, all at once."""
        ...

    async def restore(self, failed: Sequence[str], fault: Fault) -> None:
        """Bring them back. Raises LocalError if they do not come."""
        ...

    async def attempt(self, name: str, key: str, value: bytes, level: str, left_s: float) -> Attempt:
        """Ask `name` for a write under the idempotency key `key`."""
        ...

    async def read(self, name: str, key: str) -> bytes | None:
        """The value at QUORUM, None if there is none. Raises NoAnswer."""
        ...

    async def receipt(self, name: str, receipt: str) -> str:
        """The state of the receipt. Raises NoAnswer."""
        ...


class NoAnswer(Exception):
    """A node did not answer a question that it should have; another is asked, or the same again."""


async def carry_out(ground: Ground, trial: Trial, fault: Fault, election_ms_max: int) -> Observation:
    """Make the trial. Raises LocalError if the cluster is not healthy before it or after it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    leader = await _place_leader(ground, trial)
    await ground.fail(trial.failed, fault)
    await asyncio.sleep(settle_s(election_ms_max))
    written = await _write(ground, trial, fault)
    await ground.restore(trial.failed, fault)
    await healthy(ground)
    wrong = await verify(ground, written)
    outcomes = {level: each.outcome for level, each in written.items()}
    return Observation(trial, leader, outcomes, wrong, round(loop.time() - begun, 2))


def settle_s(election_ms_max: int) -> float:
    """How long to wait after the fault, and before the writes."""
    return SETTLE_ELECTIONS * election_ms_max / 1_000


async def healthy(ground: Ground) -> str:
    """Wait until all nodes name one leader, reach each other, and have applied everything; who leads."""
    until = asyncio.get_running_loop().time() + HEALTHY_S_MAX
    while True:
        leader, why = await ground.health()
        if leader is not None:
            return leader
        if asyncio.get_running_loop().time() >= until:
            raise NotReady(f"the cluster is not healthy after {HEALTHY_S_MAX:g} s: {why}")
        await asyncio.sleep(POLL_S)


async def _place_leader(ground: Ground, trial: Trial) -> str:
    until = asyncio.get_running_loop().time() + HEALTHY_S_MAX
    wanted = [name for name in ground.names if (name in trial.failed) == trial.leader_failed]
    while (leader := await healthy(ground)) not in wanted:
        if asyncio.get_running_loop().time() >= until:
            raise NotReady(f"leadership did not pass from {leader} to {' or '.join(wanted)}")
        await ground.transfer(leader, wanted[0])
    return leader


async def _write(ground: Ground, trial: Trial, fault: Fault) -> dict[str, Written]:
    # Who is isolated is cut off from clients too.
    asked = [name for name in ground.names if fault != "isolate" or name not in trial.failed]
    turn = (len(trial.failed) + trial.number) % max(len(asked), 1)
    order = asked[turn:] + asked[:turn]
    stem = f"odds/{trial.id}"
    every, quorum = await asyncio.gather(
        *(write(ground.attempt, order, level, stem, DEADLINE_S) for level in ("all", "quorum"))
    )
    one = await write(ground.attempt, order, "one", stem, DEADLINE_S)
    return {"one": one, "quorum": quorum, "all": every}


async def verify(ground: Ground, written: dict[str, Written]) -> list[str]:
    """What was acknowledged must be there, what was refused must not; a write at ONE must be committed."""
    wrong: list[str] = []
    for level, each in written.items():
        if each.outcome == "unknown":
            continue
        found = await _read(ground, each.key)
        if each.outcome == "acknowledged" and found != each.value:
            wrong.append(f"{level}: {each.key} was acknowledged and is {'gone' if found is None else 'altered'}")
        if each.outcome == "refused" and found is not None:
            wrong.append(f"{level}: {each.key} was refused as not applied, and is there")
        if each.receipt is not None and (state := await _receipt(ground, each.receipt)) != "committed":
            wrong.append(f"{level}: {each.key} has a receipt that says {state}")
    return wrong


async def _read(ground: Ground, key: str) -> bytes | None:
    until = asyncio.get_running_loop().time() + HEALTHY_S_MAX
    while True:
        for name in ground.names:
            try:
                return await ground.read(name, key)
            except NoAnswer as why:
                told = why
        if asyncio.get_running_loop().time() >= until:
            raise NotReady(f"{key} cannot be read after {HEALTHY_S_MAX:g} s: {told}")
        await asyncio.sleep(POLL_S)


async def _receipt(ground: Ground, receipt: str) -> str:
    """Its state, once it is not pending any more."""
    until = asyncio.get_running_loop().time() + HEALTHY_S_MAX
    state = "nothing"
    while True:
        for name in ground.names:
            try:
                state = await ground.receipt(name, receipt)
            except NoAnswer:
                continue
            if state != "pending":
                return state
        if asyncio.get_running_loop().time() >= until:
            return state
        await asyncio.sleep(POLL_S)

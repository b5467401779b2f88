"""Nodes that fail and are repaired over time on one cluster, while clients write at every level all the time.

A level is served at a moment if a write that begins then, offered to one node after the other, is acknowledged within
the deadline. Such writes, the probes, begin at fixed times, whatever became of those before. Each is one of three:

    down     too few nodes for its level from its beginning to its end: it must not be acknowledged
    up       enough nodes all the time: if it is not acknowledged, that is failover loss: an election, a node that
             boots, connections that are made again
    between  the number of nodes passed what the level needs in the middle of it: nothing follows

What counts as alive is taken from the orders as they were carried out: a node is down from when it is known to be dead
until it is started. In the end all are started, and what was acknowledged is looked for, what was refused as well.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from kvjepsen.odds.lifetimes import Change, Down, Lives, draw, outages
from kvjepsen.odds.plan import LEVELS, Fault
from kvjepsen.odds.trial import Ground, healthy, verify
from kvjepsen.odds.writing import Written, write
from kvstore import availability

FAULT: Final[Fault] = "kill"
LOSS_S_MAX: Final = 10.0
_VERIFIED_AT_A_TIME: Final = 8


class Probing(NamedTuple):
    """How often a write begins at each level, when it is too late, and after how long the next node is asked too."""

    every_s: float
    deadline_s: float
    patience_s: float


# A late answer is a lost one: what a busy machine takes longer for counts as failover loss, at level ONE too, which
# knows no failover. Virtual time knows no busy machine.
REAL: Final = Probing(0.2, 0.25, 0.05)
SIMULATED: Final = Probing(1.0, 0.1, 0.02)


class Mortal(Ground, Protocol):
    """A cluster whose nodes come back one by one."""

    async def revive(self, name: str) -> None:
        """Start `name`, without waiting until it serves."""
        ...


class Probe(NamedTuple):
    """One write, and when it began and ended, in seconds since the beginning."""

    since_s: float
    until_s: float
    written: Written

    @property
    def served(self) -> bool:
        """Whether it was acknowledged."""
        return self.written.outcome == "acknowledged"


class Lived(NamedTuple):
    """All that happened. `wrong`: promises that were broken, one line each."""

    lives: Lives
    probing: Probing
    changes: list[Change]
    probes: dict[str, list[Probe]]
    wrong: list[str]


async def live_through(ground: Mortal, lives: Lives, probing: Probing) -> Lived:
    """Raises LocalError if the cluster is not healthy before, or does not come back in the end."""
    await healthy(ground)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    changes: list[Change] = []
    probes: dict[str, list[Probe]] = {level: [] for level in LEVELS}
    tasks = [loop.create_task(_change(ground, draw(lives), changes, begun))]
    for place, level in enumerate(LEVELS):
        # One after the other in the interval, so that they do not queue behind each other.
        first = place / len(LEVELS)
        ats = [probing.every_s * (number + first) for number in range(int(lives.seconds / probing.every_s))]
        tasks.append(loop.create_task(_probe(ground, level, ats, probing, probes[level], begun)))
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for name in sorted({change.node for change in changes if _is_down(change.node, changes)}):
        await ground.revive(name)
    await healthy(ground)
    return Lived(lives, probing, changes, probes, await _verify(ground, probes))


async def _change(ground: Mortal, schedule: Sequence[Change], done: list[Change], begun: float) -> None:
    loop = asyncio.get_running_loop()
    for change in schedule:
        await asyncio.sleep(begun + change.at_s - loop.time())
        if change.up:
            done.append(change._replace(at_s=loop.time() - begun))
            await ground.revive(change.node)
        else:
            await ground.fail([change.node], FAULT)
            done.append(change._replace(at_s=loop.time() - begun))


def _is_down(name: str, changes: Sequence[Change]) -> bool:
    return not [change.up for change in changes if change.node == name][-1]


async def _probe(
    ground: Mortal, level: str, ats: Sequence[float], probing: Probing, probes: list[Probe], begun: float
) -> None:
    loop = asyncio.get_running_loop()
    every, n = list(ground.names), len(ground.names)

    async def one(number: int) -> None:
        order = every[number % n :] + every[: number % n]
        since = loop.time()
        written = await write(ground.attempt, order, level, f"lives/{number}", probing.deadline_s, probing.patience_s)
        probes.append(Probe(since - begun, loop.time() - begun, written))

    async with asyncio.TaskGroup() as tasks:
        for number, at_s in enumerate(ats):
            await asyncio.sleep(begun + at_s - loop.time())
            tasks.create_task(one(number))
    probes.sort()


async def _verify(ground: Mortal, probes: dict[str, list[Probe]]) -> list[str]:
    # Receipts are not asked for: they are kept for a bounded number of writes only.
    waiting = [{level: each.written._replace(receipt=None)} for level in LEVELS for each in probes[level]]
    wrong: list[str] = []

    async def some() -> None:
        while waiting:
            wrong.extend(await verify(ground, waiting.pop()))

    await asyncio.gather(*(some() for _ in range(_VERIFIED_AT_A_TIME)))
    return sorted(wrong)


# --- What it says -----------------------------------------------------------------------------------------------------


def judged(lived: Lived) -> dict[str, Any]:
    """One element of `over_time` in odds.json. Shares are of time, as far as the probes sampled it.

    A level for which there were never enough nodes is `untried`: the run was too short to say anything about it.
    """
    lives = lived.lives
    levels = {level: _level(lived, level) for level in LEVELS}
    untried = [level for level, found in levels.items() if not found["up"]]
    wrong = [*lived.wrong, *(line for level, found in levels.items() for line in _wrong(level, found))]
    return {
        "n": lives.n,
        "mttf_s": lives.mttf_s,
        "mttr_s": lives.mttr_s,
        "p": lives.p,
        "seconds": lives.seconds,
        "seed": lives.seed,
        "probe_s": lived.probing.every_s,
        "deadline_s": lived.probing.deadline_s,
        "failures": sum(not change.up for change in lived.changes),
        "levels": levels,
        "wrong": wrong,
        "untried": untried,
        "verdict": "refuted" if wrong else "incomplete" if untried else "confirmed",
    }


def _level(lived: Lived, level: str) -> dict[str, Any]:
    lives, probes = lived.lives, lived.probes[level]
    expected = availability.outages(level, lives.n, lives.mttf_s, lives.mttr_s)
    down = outages(lived.changes, level, lives.n, lives.seconds)
    down_s = sum(each.until_s - each.since_s for each in down)
    began = sum(each.since_s > 0 for each in down)
    up = [probe for probe in probes if not any(_meet(probe, each) for each in down)]
    inside = [probe for probe in probes if any(_within(probe, each) for each in down)]
    return {
        "formula": {
            "unavailability": expected.unavailability,
            "outages": expected.per_second * lives.seconds,
            "mean_s": expected.mean_s,
        },
        "structural": {
            "unavailability": down_s / lives.seconds,
            "outages": began,
            # As frequency and duration belong together: what an outage that begins costs.
            "mean_s": down_s / began if began else None,
        },
        "probes": len(probes),
        "not_served": sum(not probe.served for probe in probes) / max(len(probes), 1),
        "up": len(up),
        "down": len(inside),
        "between": len(probes) - len(up) - len(inside),
        "served_while_down": sum(probe.served for probe in inside),
        "failover_loss": sum(not probe.served for probe in up) / max(len(probes), 1),
        "longest_loss_s": _longest_s(up, probes, lived.probing.every_s),
    }  # fmt: skip


def _wrong(level: str, found: dict[str, Any]) -> list[str]:
    lines = []
    if found["served_while_down"]:
        lines.append(f"{level}: {found['served_while_down']} writes were acknowledged while too few nodes were alive")
    if found["longest_loss_s"] > LOSS_S_MAX:
        lines.append(f"{level}: not served for {found['longest_loss_s']:.1f} s on end, though enough nodes were alive")
    return lines


def _meet(probe: Probe, down: Down) -> bool:
    return probe.since_s < down.until_s and down.since_s < probe.until_s


def _within(probe: Probe, down: Down) -> bool:
    return down.since_s <= probe.since_s and probe.until_s <= down.until_s


def _longest_s(up: Sequence[Probe], probes: Sequence[Probe], probe_s: float) -> float:
    """The longest time for which one probe after the other was lost."""
    lost = {probe.since_s for probe in up if not probe.served}
    longest = run = 0
    for probe in probes:
        run = run + 1 if probe.since_s in lost else 0
        longest = max(longest, run)
    return longest * probe_s

"""Figure 8 of the Raft paper with real processes: an entry of an older term must not be committed by counting copies.

    python -m kvjepsen.figure8
    python -m kvjepsen.figure8 --mutant older-term-commit     has to fail

Five nodes; what leaders send is bounded by order (kvjepsen.faulty), so that exactly this happens:

(a) n1 leads, and gets a write to n2 only. n1 dies, n2 stands still.
(b) One of the other three is elected. It has an entry of its own at the same place, which it sends to nobody, and dies.
(c) n2 goes on, is elected by the two that are left, and sends them the write, but not the entry of its new term. A
    majority holds the write now. It must not be committed; a node that thinks so shows it to readers.
(d) n2 dies. The one of (b) comes back, is elected, because its last entry is of a later term, and overwrites the write.

Random faults hardly ever meet this: `kv chaos run --mutant older-term-commit` is not expected to find it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from kvcluster import probe
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster, NotReady
from kvjepsen import faulty, frame, mutated
from kvjepsen.leaders import NoChange
from kvjepsen.server_mutants import DIRECTED
from kvjepsen.threads import in_thread
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_STEP_S_MAX: Final = 20.0
_WATCH_S: Final = 1.5  # thirty heartbeats: a leader that commits by counting does so at the first
_POLL_S: Final = 0.02
_KEY: Final = b"figure8"
_FIRST: Final = "n1"
_SECOND: Final = "n2"


@dataclass
class Outcome(frame.Outcome):
    """`shown`: whether n2 showed the write in (c); `copies`: how many nodes held it then."""

    times: int = 0
    copies: int = 0
    shown: int = 0

    def enough(self) -> bool:
        """Each time a majority held the write."""
        return self.times > 0 and self.copies == 3 * self.times

    def counts(self) -> list[tuple[str, str]]:
        """What was done."""
        return [
            ("times", str(self.times)),
            ("copies of the older write when its leader counted", str(self.copies)),
            ("times it was shown to a reader", str(self.shown)),
        ]


async def figure8(cluster: Cluster, *, times: int, progress: frame.Progress = lambda line: None) -> Outcome:
    """Against a cluster of five that is ready and runs kvjepsen.faulty or kvjepsen.mutated."""
    outcome, started = Outcome(), time.monotonic()
    try:
        for number in range(times):
            await _Schedule(cluster, outcome, number, progress).run()
            outcome.times += 1
    except (NotReady, NoChange, KvError, LocalError) as error:
        outcome.problem = str(error) or type(error).__name__
    outcome.seconds = time.monotonic() - started
    return outcome


class _Schedule:
    """One time through (a) to (d)."""

    def __init__(self, cluster: Cluster, outcome: Outcome, number: int, progress: frame.Progress) -> None:
        self._cluster = cluster
        self._outcome = outcome
        self._progress = progress
        self._shown = False
        self._before, self._write = b"before %d" % number, b"older %d" % number
        self._others = [name for name in cluster.topology.names if name not in (_FIRST, _SECOND)]

    async def run(self) -> None:
        """Raises NotReady, NoChange."""
        place = await self._begin()
        await self._write_to_one(place)
        third = await self._another_entry()
        await self._older_majority(place, third)
        await self._overwrite(third)

    async def _begin(self) -> int:
        """n1 leads, all have everything; the index of the next entry."""
        async with AsyncClient(self._cluster.topology.endpoints, sessions=False, timeout_s=_STEP_S_MAX) as client:
            if await in_thread(self._cluster.leader) != _FIRST:
                await client.transfer_leader(_FIRST)
            await client.put(_KEY, self._before, level="all")
        view = await self._until(_FIRST, lambda view: view["leader"] == _FIRST, "does not lead")
        place = int(view["commit_index"]) + 1
        await self._order(_FIRST, [_SECOND], None)
        await self._order(_SECOND, self._others, place)
        for name in self._others:
            await self._order(name, [], None)
        return place

    async def _write_to_one(self, place: int) -> None:
        """(a)"""
        async with AsyncClient([self._http(_FIRST)], sessions=False, timeout_s=_STEP_S_MAX) as client:
            writing = asyncio.create_task(client.put(_KEY, self._write))
            await self._until(_FIRST, lambda view: _holds(view, _SECOND, place), f"has not sent {place} to {_SECOND}")
            await in_thread(self._cluster.pause, _SECOND)
            await in_thread(self._cluster.kill, _FIRST)
            with suppress(KvError, LocalError):
                await writing
                self._outcome.findings.append("a write was acknowledged that only two of five nodes had")
        self._progress(f"(a) {_FIRST} is dead, {_SECOND} holds entry {place} alone")

    async def _another_entry(self) -> str:
        """(b): who was elected."""
        deadline = time.monotonic() + _STEP_S_MAX
        while time.monotonic() < deadline:
            for name in self._others:
                own = probe.own_member(await in_thread(probe.cluster_view, self._cluster.topology.node(name)))
                if own is not None and own["role"] == "leader":
                    await in_thread(self._cluster.kill, name)
                    self._progress(f"(b) {name} was elected, told nobody, and is dead")
                    return name
            await asyncio.sleep(_POLL_S)
        raise NoChange(f"none of {', '.join(self._others)} leads after {_STEP_S_MAX:g} s")

    async def _older_majority(self, place: int, third: str) -> None:
        """(c)"""
        left = [name for name in self._others if name != third]
        await in_thread(self._cluster.resume, _SECOND)
        await self._until(
            _SECOND,
            lambda view: view["leader"] == _SECOND and all(_holds(view, name, place) for name in left),
            f"does not lead, or has not sent entry {place} to {', '.join(left)}",
        )
        self._outcome.copies += 3
        self._progress(f"(c) {_SECOND}, {', '.join(left)} hold entry {place}, of an older term than {_SECOND} leads in")
        deadline = time.monotonic() + _WATCH_S
        async with AsyncClient([self._http(_SECOND)], sessions=False) as client:
            while time.monotonic() < deadline:
                with suppress(KvError, LocalError):
                    if await client.get_value(_KEY, level="one", timeout_s=1.0) == self._write:
                        self._shown = True
                        self._outcome.shown += 1
                        return
                await asyncio.sleep(_POLL_S)

    async def _overwrite(self, third: str) -> None:
        """(d), and what everybody holds in the end."""
        await in_thread(self._cluster.kill, _SECOND)
        for name in (third, _FIRST, _SECOND):
            await in_thread(self._cluster.start, name)
            if name == third:
                await in_thread(self._cluster.wait_ready, self._others, _STEP_S_MAX)
        await in_thread(self._cluster.wait_ready, self._cluster.topology.names, _STEP_S_MAX)
        self._progress(f"(d) {third} came back and leads; all are up again")
        for name in self._cluster.topology.names:
            async with AsyncClient([self._http(name)], sessions=False, timeout_s=_STEP_S_MAX) as client:
                found = await client.get_value(_KEY)
            if found != self._before:
                self._outcome.findings.append(f"{name} holds {found!r} in the end, not {self._before!r}")
            elif self._shown:
                self._outcome.findings.append(
                    f"{_SECOND} showed {self._write!r}, and {name} holds {found!r} in the end"
                )

    async def _order(self, name: str, to: Sequence[str], upto: int | None) -> None:
        await in_thread(faulty.order, self._cluster, name, entries=[list(to), upto])

    def _http(self, name: str) -> str:
        return self._cluster.topology.node(name).http

    async def _until(self, name: str, wanted: Callable[[dict[str, Any]], bool], otherwise: str) -> dict[str, Any]:
        """What `name` knows of the cluster, as soon as it is what is wanted."""
        deadline = time.monotonic() + _STEP_S_MAX
        while True:
            view = await in_thread(probe.cluster_view, self._cluster.topology.node(name))
            if view is not None and wanted(view):
                return view
            if time.monotonic() >= deadline:
                raise NoChange(f"{name} {otherwise} after {_STEP_S_MAX:g} s; it says {view}")
            await asyncio.sleep(_POLL_S)


def _holds(view: dict[str, Any], name: str, place: int) -> bool:
    """Whether the leader that gave `view` knows the entry at `place` to be durable at `name`."""
    return any(each["name"] == name and (each["match_index"] or 0) >= place for each in view["members"])


def start(directory: Path, mutant: str | None, progress: frame.Progress = lambda line: None) -> Cluster:
    """Five nodes that take orders, with that bug if one is named. Raises NotReady."""
    env = {} if mutant is None else {mutated.VARIABLE: mutant}
    program = faulty.PROGRAM if mutant is None else mutated.PROGRAM
    return bring_up(directory, 5, progress=progress, env=env, program=program)


@click.command()
@click.option("--times", type=click.IntRange(1), default=1, show_default=True)
@click.option("--mutant", type=click.Choice(list(DIRECTED)), help="Build this bug into the nodes: it has to be found.")
@frame.directory_option
def main(times: int, mutant: str | None, directory: Path | None) -> None:
    """Bring figure 8 about, and check that nobody is shown what is not committed.

    Exit code 0 if the run passed, 1 if it failed, 5 if it was vacuous. The directory is deleted after a pass.
    """
    frame.conduct(
        "figure8",
        directory,
        lambda where: start(where, mutant, frame.say),
        lambda cluster: figure8(cluster, times=times, progress=frame.say),
    )


if __name__ == "__main__":
    main()

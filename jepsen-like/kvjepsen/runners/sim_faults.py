"""The faults of a plan, carried out on a simulated cluster: each strikes, and ends when its time is over; what several
do to one node or link at once ends with the last of them. Changes of members are asked for here, too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from kvjepsen.schedule import Fault
from kvstore.errors import CannotConnect, ConnectionLost, KvError
from kvstore.node.deadlines import Expired
from kvstore.node.service import Node
from kvstore.testing import SimCluster
from kvstore.testing.process import PORT


class Faults:
    """What is broken at present. `started`: the hosts that are to run, members or not."""

    def __init__(self, cluster: SimCluster, members: tuple[str, ...]) -> None:
        self.cluster = cluster
        self.total = 0
        self.started = set(members)
        self._down: dict[str, int] = dict.fromkeys(cluster.names, 0)
        self._admin: list[asyncio.Task[None]] = []
        self._blocks: dict[tuple[str, str], int] = {}
        self._slow = 0

    def strike(self, fault: Fault) -> None:
        """Let it happen now, and end when its time is over."""
        self.total += 1
        self.cluster.note(f"-- {fault.kind} {','.join(fault.nodes)} {fault.amount or ''}")
        _STRIKES[fault.kind](self, fault)
        self.cluster.loop.call_later(fault.until_s - fault.at_s, self._mend, fault)

    def _mend(self, fault: Fault) -> None:
        self.cluster.note(f"-- end of {fault.kind} {','.join(fault.nodes)}")
        _MENDS[fault.kind](self, fault)

    def _take_down(self, fault: Fault, how: Callable[[str], Any]) -> None:
        for name in fault.nodes:
            self._down[name] += 1
            how(name)

    def _bring_up(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._down[name] -= 1
            self._let_run(name)

    def _let_run(self, name: str) -> None:
        if self._down[name]:
            return
        disk = self.cluster.disks[name]
        disk.crash_at = None
        disk.failing.clear()
        self.cluster.resume(name)
        if name in self.started:
            self.cluster.start(name)

    def _stop(self, fault: Fault) -> None:
        """As by SIGTERM. A process may take longer to end than its fault lasts: it is started again once it has."""
        for name in fault.nodes:
            self._down[name] += 1
            self.cluster.stop(name).add_done_callback(partial(self._stopped, name))

    def _stopped(self, name: str, _ended: "asyncio.Future[None]") -> None:
        self._let_run(name)

    def _crash(self, fault: Fault) -> None:
        self._take_down(fault, lambda name: self.cluster.crash_in(name, fault.amount))

    def _bad_disk(self, fault: Fault, operation: str) -> None:
        for name in fault.nodes:
            self._down[name] += 1
            self.cluster.expected_failures.add(name)
            self.cluster.disks[name].failing[operation] = 5  # EIO

    def _fill_disk(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._down[name] += 1
            self.cluster.expected_failures.add(name)
            disk = self.cluster.disks[name]
            disk.capacity_bytes = disk.capacity_bytes - disk.free_bytes("") + fault.amount

    def _mend_disk(self, fault: Fault) -> None:
        for name in fault.nodes:
            disk = self.cluster.disks[name]
            disk.capacity_bytes = 1 << 40
            disk.failing.clear()
        self._bring_up(fault)

    def _cut(self, fault: Fault, sign: int) -> None:
        for pair in _cut_pairs(fault):
            count = self._blocks[pair] = self._blocks.get(pair, 0) + sign
            if count == 1 and sign > 0:
                self.cluster.network.block(*pair)
            elif count == 0:
                self.cluster.network.heal(*pair)

    def _reset(self, fault: Fault) -> None:
        self.cluster.network.reset(fault.nodes[0], fault.nodes[1])

    def _slow_down(self, fault: Fault, sign: int) -> None:
        self._slow += sign * fault.amount
        self.cluster.network.spike_chance = self._slow / 100

    def _jump(self, fault: Fault) -> None:
        for name in fault.nodes:
            if name in self.cluster.processes:
                self.cluster.processes[name].clock.jump_ms += fault.amount

    # -- members

    def _administer(self, fault: Fault) -> None:
        self._admin.append(self.cluster.loop.create_task(_ADMIN[fault.kind](self, *fault.nodes, fault.until_s)))

    async def ask(self, asked: str, request: Callable[[Node], Any], until_s: float) -> bool:
        """Ask `asked`, and again until `until_s`, for a change of members. Whether it was done, as far as known."""
        cluster = self.cluster
        while cluster.time.now < until_s:
            try:
                await asyncio.wait_for(cluster.call(asked, request), 1.0)
            except (KvError, CannotConnect, ConnectionLost, TimeoutError, Expired) as error:
                cluster.note(f"{asked}: {error!r}")
                await asyncio.sleep(0.2)
            else:
                return True
        return False

    async def _add(self, asked: str, name: str, until_s: float) -> None:
        self.started.add(name)
        self._let_run(name)
        await self.ask(asked, lambda node: node.membership.add(name, f"{name}:{PORT}", 0.8), until_s)

    async def _remove(self, asked: str, name: str, until_s: float) -> None:
        if not self.cluster.wiped:
            await self.ask(asked, lambda node: node.membership.remove(name, 0.8), until_s)

    async def _transfer(self, asked: str, name: str, until_s: float) -> None:
        await self.ask(asked, lambda node: node.membership.transfer(name, 0.8), until_s)

    async def _replace(self, asked: str, name: str, until_s: float) -> None:
        """One lost disk a run, and not of one of two voters: more could take the majority, whatever anybody does."""
        configurations = {watch.journal.configuration for watch in self.cluster.watches.values()}
        changing = sum(not task.done() for task in self._admin) > 1 or len(configurations) > 1
        if self.cluster.wiped or changing or any(len(each.voters) < 3 for each in configurations):
            return
        self.cluster.wipe(name)
        self.started.discard(name)
        if await self.ask(asked, lambda node: node.membership.remove(name, 0.8, force=True), until_s):
            await self._add(asked, name, until_s)

    # -- the end

    def heal(self) -> None:
        """Put everything right."""
        cluster = self.cluster
        cluster.note("-- everything heals")
        for task in self._admin:
            task.cancel()
        cluster.network.heal_all()
        cluster.network.spike_chance = 0.0
        for name in cluster.names:
            self._down[name] = 0
            cluster.disks[name].capacity_bytes = 1 << 40
            self._let_run(name)
        cluster.expected_failures.clear()


def _cut_pairs(fault: Fault) -> list[tuple[str, str]]:
    """Who hears nothing from whom: (source, target)."""
    nodes = fault.nodes
    if fault.kind == "one-way":
        return [nodes] if len(nodes) == 2 else []
    if fault.kind == "ring":
        # Everybody sees both neighbours only; with three nodes one link is cut.
        size = len(nodes)
        near = {(a, (a + step) % size) for a in range(size) for step in (1, -1)}
        if size <= 3:
            near -= {(0, 1), (1, 0)}
        return [(nodes[a], nodes[b]) for a in range(size) for b in range(size) if a != b and (a, b) not in near]
    if fault.kind == "bridge":
        # The first node sees all; of the others, two groups see only themselves and it.
        rest = nodes[1:]
        groups = [rest[: fault.amount], rest[fault.amount :]]
    elif fault.kind == "halves":
        groups = [nodes[: fault.amount], nodes[fault.amount :]]
    else:
        raise AssertionError(fault.kind)
    return [(a, b) for here in groups for there in groups if here is not there for a in here for b in there]


def _isolate(faults: Faults, fault: Fault, sign: int) -> None:
    for name in fault.nodes:
        others = tuple(other for other in faults.cluster.names if other != name)
        faults._cut(Fault(fault.at_s, fault.until_s, "halves", (name, *others), 1), sign)


_STRIKES: dict[str, Callable[[Faults, Fault], Any]] = {
    "kill": lambda faults, fault: faults._take_down(fault, faults.cluster.kill),
    "power": lambda faults, fault: faults._take_down(fault, faults.cluster.power_off),
    "crash": Faults._crash,
    "blackout": lambda faults, fault: faults._take_down(fault, faults.cluster.power_off),
    "stop": Faults._stop,
    "pause": lambda faults, fault: faults._take_down(fault, faults.cluster.pause),
    "isolate": lambda faults, fault: _isolate(faults, fault, 1),
    "halves": lambda faults, fault: faults._cut(fault, 1),
    "one-way": lambda faults, fault: faults._cut(fault, 1),
    "bridge": lambda faults, fault: faults._cut(fault, 1),
    "ring": lambda faults, fault: faults._cut(fault, 1),
    "reset": Faults._reset,
    "slow": lambda faults, fault: faults._slow_down(fault, 1),
    "disk-full": Faults._fill_disk,
    "bad-sync": lambda faults, fault: faults._bad_disk(fault, "sync"),
    "bad-write": lambda faults, fault: faults._bad_disk(fault, "pwrite"),
    "clock-jump": Faults._jump,
    **dict.fromkeys(("add", "remove", "replace", "transfer"), Faults._administer),
}

_MENDS: dict[str, Callable[[Faults, Fault], Any]] = {
    "kill": Faults._bring_up,
    "power": Faults._bring_up,
    "crash": Faults._bring_up,
    "blackout": Faults._bring_up,
    "stop": Faults._bring_up,
    "pause": Faults._bring_up,
    "isolate": lambda faults, fault: _isolate(faults, fault, -1),
    "halves": lambda faults, fault: faults._cut(fault, -1),
    "one-way": lambda faults, fault: faults._cut(fault, -1),
    "bridge": lambda faults, fault: faults._cut(fault, -1),
    "ring": lambda faults, fault: faults._cut(fault, -1),
    "reset": lambda faults, fault: None,
    "slow": lambda faults, fault: faults._slow_down(fault, -1),
    "disk-full": Faults._mend_disk,
    "bad-sync": Faults._mend_disk,
    "bad-write": Faults._mend_disk,
    "clock-jump": lambda faults, fault: faults._jump(fault._replace(amount=-fault.amount)),
    **dict.fromkeys(("add", "remove", "replace", "transfer"), lambda faults, fault: None),
}

_ADMIN: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "add": Faults._add,
    "remove": Faults._remove,
    "replace": Faults._replace,
    "transfer": Faults._transfer,
}

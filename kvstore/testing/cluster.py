"""A whole cluster in one process: the real nodes on virtual time, a simulated network and simulated disks.

    cluster = SimCluster(["n1", "n2", "n3"], seed=7)
    cluster.start_all()
    answer = cluster.run(cluster.call("n1", lambda node: node.put(b"k", b"v", level=Level.QUORUM, ...)))

Everything that can differ between two runs comes from the seed: the same calls with the same seed give the same
history, to the byte. `invariants` are checked after every step of every node; what breaks one is raised by `run`.

A node is what `kvstore.server` puts together, without the HTTP door: open_directory, Node, PeerTransport. Not real are
the loop, the clocks, the sockets and the disk, and work that the server gives to a thread is done in place.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from kvstore.config import Address
from kvstore.consensus.context import RaftSettings
from kvstore.consensus.engine import Peer
from kvstore.consensus.rules import term_at
from kvstore.consensus.transport import PeerTransport
from kvstore.errors import CannotConnect, ConnectionLost
from kvstore.node.boot import Bootstrap, Opened, cluster_id_of, open_directory
from kvstore.node.connections import Connections
from kvstore.node.service import Node
from kvstore.testing.invariants import InvariantBroken, Invariants
from kvstore.testing.process import PORT, SimNode, SimProcess
from kvstore.testing.sim_beside import SimBeside
from kvstore.testing.sim_disk import KEPT, Fate, PowerLoss, SimDisk
from kvstore.testing.sim_loop import DEAD, PAUSED, SimClock, SimLoop, VirtualTime
from kvstore.testing.sim_network import SimNetwork
from kvstore.testing.watch import Watch
from kvstore.vault.envelope import NO_KEYS, Vault

_T = TypeVar("_T")

DATA_DIR: Final = "data"
JOIN_AGAIN_S: Final = 0.5
HAND_OVER_S_MAX: Final = 1.0

# Times as in production; sizes so small that segments roll and snapshots are taken and sent all the time.
SIM_SETTINGS: Final = RaftSettings(snapshot_log_bytes=6_000, log_keep_bytes=2_000)
SIM_SEGMENT_BYTES: Final = 12 << 10


class NodeFailed(AssertionError):
    """A node stopped by itself, or could not start, although nothing had been done to its disk."""


class SimCluster:
    """Nodes by name. Faults take effect at once; call them from outside `run` or from a callback of `loop`."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        seed: int | str = 0,
        settings: RaftSettings = SIM_SETTINGS,
        segment_bytes: int = SIM_SEGMENT_BYTES,
        disk_bytes: int = 1 << 40,
        spares: Sequence[str] = (),
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """`seed` decides everything. `spares` are hosts that are no members at first: see `start`.

        `trace` gets a line for whatever happens, with the time in front.
        """
        self.first_names = tuple(names)
        self.names = (*names, *spares)
        self.seed = seed
        self.time = VirtualTime()
        self.loop = SimLoop(self.time, name="outside")  # type: ignore[abstract]
        self.loop.on_error = self._note_error
        self.network = SimNetwork(self.time, self._rng("network"))
        self.invariants = Invariants()
        self.disks = {name: SimDisk(disk_bytes) for name in self.names}
        self.processes: dict[str, SimProcess] = {}
        self.starts = dict.fromkeys(self.names, 0)
        self.watches: dict[str, Watch] = {}
        # The eyes on disks that were lost for good: what they had acknowledged was durable then.
        self.lost_disks: list[Watch] = []
        self.wiped: set[str] = set()
        self._disk_bytes = disk_bytes
        self.vaults: dict[str, Vault] = {}  # of nodes that encrypt what they keep
        self.crashes_total = 0
        self.error: BaseException | None = None
        self.expected_failures: set[str] = set()  # nodes whose disk fails: they may stop by themselves
        self.settings = settings
        self._segment_bytes = segment_bytes
        self._trace = trace
        self._fates = {name: self._rng(f"disk {name}") for name in self.names}
        self._clock_rng = self._rng("clocks")
        self._offload_rng = self._rng("offload")
        self._rates = {name: 1.0 + self._clock_rng.uniform(-2e-4, 2e-4) for name in self.names}
        self._wall_offsets_ms = {name: self._clock_rng.randrange(-200, 200) for name in self.names}

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self.seed} {what}")

    # -- running

    def run(self, future: Awaitable[_T], *, timeout_s: float = 600.0) -> _T:
        """Let things happen until `future` is done, at most for `timeout_s` seconds of virtual time.

        Raises what broke an invariant, NodeFailed, or sim_loop.OutOfTime.
        """
        task: asyncio.Future[_T] = asyncio.ensure_future(future, loop=self.loop)
        self.time.run(lambda: self.error is not None or task.done(), self.time.now + timeout_s)
        if self.error is not None:
            raise self.error
        return task.result()

    def run_for(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        future = self.loop.create_future()
        self.loop.call_later(seconds, future.set_result, None)
        self.run(future, timeout_s=seconds + 1.0)

    def note(self, text: str) -> None:
        """Put a line into the trace."""
        if self._trace is not None:
            self._trace(f"{self.time.now:10.6f} {text}")

    def _note_error(self, error: BaseException) -> None:
        if self.error is None and not isinstance(error, PowerLoss):
            self.error = error

    def close(self) -> None:
        """End everything. Nothing of this cluster runs any more."""
        for process in self.processes.values():
            process.loop.kill()
        self.loop.kill()
        self.time.stop()

    # -- nodes

    def start_all(self) -> None:
        """Start every one of the first members that does not run."""
        for name in self.first_names:
            self.start(name)

    def start(self, name: str) -> None:
        """Start `name` on what its disk holds; nothing happens if it runs. Its boot is the first thing it does.

        A spare, or a member whose disk was wiped, begins as a node that joins: add it as a member, else nobody listens
        to it.
        """
        if name in self.processes:
            return
        self.starts[name] += 1
        incarnation = self.starts[name]
        # The monotonic clock of a host begins anew with each of its boots.
        offset_s = self._clock_rng.uniform(1.0, 1000.0)
        loop = SimLoop(self.time, name=name, offset_s=offset_s, rate=self._rates[name])  # type: ignore[abstract]
        clock = SimClock(loop, wall_offset_ms=self._wall_offsets_ms[name] + int(self.time.now * 1000))
        process = SimProcess(name, incarnation, loop, clock)
        loop.on_error = lambda error: self._process_error(process, error)
        self.processes[name] = process
        self.network.up(name, loop)
        self.disks[name].power_lost = lambda: self.power_off(name)
        self.note(f"{name} starts ({incarnation})")
        loop.call_soon(self._boot, process)

    def _boot(self, process: SimProcess) -> None:
        name = process.name
        rng = self._rng(f"{name} {process.incarnation}")
        members = {each: f"{each}:{PORT}" for each in (*self._known_members(), name)}
        joins = self._joins(name)
        if joins is None:
            members = {each: f"{each}:{PORT}" for each in self.first_names}
        opened = open_directory(
            self.disks[name],
            DATA_DIR,
            Bootstrap(name, members, "", joins),
            rng,
            segment_bytes=self._segment_bytes,
            vault=self.vaults.get(name, NO_KEYS),
        )
        self._check_recovered(name, opened)
        connections = Connections(
            loop=process.loop,
            name=name,
            own={},
            listen=Address(name, PORT),
            configuration=lambda: node.engine.configuration,
        )
        node = SimNode(
            opened=opened,
            settings=self.settings,
            clock=process.clock,
            rng=rng,
            loop=process.loop,
            offload=lambda work: self._offload(process.loop, work),
            beside=SimBeside(process.loop, self._offload_rng),
            synced=lambda _seconds: None,
            on_members=connections.follow,
            on_failure=lambda error: self._process_error(process, error),
        )
        node.told = lambda index, digest: self.invariants.applied(name, index, digest)
        identity = opened.identity
        process.node, process.transport = (
            node,
            PeerTransport(
                hello=Peer(name, identity.identity, identity.incarnation, f"http://{name}", f"{name}:{PORT}"),
                cluster_id=identity.cluster_id,
                events=node,
                authorise=connections.authorise,
                stranger=connections.let_in,
                has_log=lambda: node.engine.has_log,
                rng=rng,
            ),
        )
        process.watch = self.watches[name] = Watch(
            name,
            identity.identity,
            process.incarnation,
            self.invariants,
            node.engine,
            opened.journal,
            lambda: [*self.watches.values(), *self.lost_disks],
            lambda term: self.note(f"{name} leads term {term}"),
        )
        process.loop.after = process.watch.look
        node.start(process.transport, f"http://{name}")
        if joins is not None:
            self._hear_of_members(process)
        starting = process.loop.create_task(connections.start(process.transport))
        starting.add_done_callback(lambda task: task.result())

    def _hear_of_members(self, process: SimProcess) -> None:
        """Let a node that joins ask again and again, as a real one does (kvstore.server)."""
        node = process.node
        if node is None or not node.waits_to_join:
            return
        members = {each: f"{each}:{PORT}" for each in (*self._known_members(), process.name)}
        node.hear_of_members(Bootstrap(process.name, members, "", self._joins(process.name)))
        process.loop.call_later(JOIN_AGAIN_S, self._hear_of_members, process)

    def _known_members(self) -> tuple[str, ...]:
        """What a node that joins is told by the cluster."""
        leader = self.leader()
        node = None if leader is None else self.node(leader)
        return self.first_names if node is None else node.engine.configuration.names

    def _joins(self, name: str) -> str | None:
        """The id of the cluster for a node that is none of its first members any more."""
        if name in self.first_names and name not in self.wiped:
            return None
        first = {each: f"{each}:{PORT}" for each in self.first_names}
        return cluster_id_of(Bootstrap(name, first, ""), random.Random(0))

    def _check_recovered(self, name: str, opened: Opened) -> None:
        before = self.watches.get(name)
        if before is None:
            return
        journal = opened.journal
        self.invariants.recovered(
            name,
            before.durable(),
            journal.term,
            journal.voted_for,
            journal.entries[-1][1],
            lambda index: term_at(journal.entries, index),
        )

    def _offload(self, loop: SimLoop, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        """What the server does in a thread: in place, a little later."""
        future: asyncio.Future[Any] = loop.create_future()

        def do() -> None:
            if future.done():
                return
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

        loop.call_later(self._offload_rng.uniform(0.0, 0.005), do)
        return future

    def _process_error(self, process: SimProcess, error: BaseException) -> None:
        """A node failed, or a callback of its did."""
        if isinstance(error, PowerLoss) or process.loop.state == DEAD:
            return
        if isinstance(error, (InvariantBroken, KeyboardInterrupt)):  # whoever interrupts says nothing about a node
            self._note_error(error)
        elif process.name in self.expected_failures:
            self.note(f"{process.name} stopped: {error!r}")
            self.kill(process.name)
        else:
            failed = NodeFailed(f"{process.name} (start {process.incarnation}): {error!r}")
            failed.__cause__ = error
            self._note_error(failed)

    # -- faults

    def kill(self, name: str) -> None:
        """The process ends at once, as by SIGKILL. The host goes on: what was written stays, sockets are closed."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        self.note(f"{name} is killed")
        self.network.process_ended(name)
        self._end(process, KEPT)

    def power_off(self, name: str, fate: Fate | None = None) -> None:
        """The host is gone: memory, what was not synced (as `fate` or the seed decides), connections without a word."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        self.note(f"{name} loses power")
        self.network.power_lost(name)
        self._end(process, fate or self._some_fate(name))

    def crash_in(self, name: str, operations: int) -> None:
        """The power goes at the n-th operation on the disk of `name` from now on."""
        disk = self.disks[name]
        disk.crash_at = disk.operations + operations

    def stop(self, name: str) -> "asyncio.Future[None]":
        """End `name` in good order, as by SIGTERM. Done when the process has ended, in whatever way."""
        ended: asyncio.Future[None] = self.loop.create_future()
        process = self.processes.get(name)
        if process is None or process.node is None or process.loop.state:
            ended.set_result(None)
            return ended
        process.ended.append(ended)
        self.note(f"{name} is stopped")
        node, transport = process.node, process.transport

        async def close() -> None:
            assert transport is not None
            await node.hand_over(HAND_OVER_S_MAX)
            await transport.close()
            await node.close()
            self.kill(name)

        process.loop.create_task(close()).add_done_callback(lambda task: task.result())
        return ended

    def wipe(self, name: str) -> None:
        """Power off for good: the disk is replaced by an empty one. Remove and add the member before it starts."""
        self.power_off(name)
        self.note(f"{name} gets an empty disk")
        self.disks[name] = SimDisk(self._disk_bytes)
        self.wiped.add(name)
        if (watch := self.watches.pop(name, None)) is not None:
            self.lost_disks.append(watch)
        self.invariants.forget(name)

    def pause(self, name: str) -> None:
        """Stop the process as by SIGSTOP."""
        if name in self.processes:
            self.note(f"{name} is paused")
            self.processes[name].loop.pause()

    def resume(self, name: str) -> None:
        """Let a paused process go on."""
        if name in self.processes and self.processes[name].loop.state == PAUSED:
            self.note(f"{name} goes on")
            self.processes[name].loop.resume()

    def partition(self, *groups: Sequence[str]) -> None:
        """Nothing passes between the groups, in either direction."""
        for group in groups:
            for other in groups:
                if other is not group:
                    for source in group:
                        for target in other:
                            self.network.block(source, target)

    def _some_fate(self, name: str) -> Fate:
        rng = self._fates[name]
        extreme = rng.randrange(4)
        if extreme == 0:
            return lambda _states: 0
        if extreme == 1:
            return KEPT
        return rng.randrange

    def _end(self, process: SimProcess, fate: Fate) -> None:
        self.crashes_total += 1
        # What the end of its tasks still does happens to a disk that nobody will read.
        disk = self.disks[process.name]
        self.disks[process.name] = disk.after_crash(fate)
        disk.power_lost = disk.crash_at = None
        disk.failing = {}
        process.loop.kill()
        for ended in process.ended:
            if not ended.done():
                ended.set_result(None)
        waiting, process.waiting = process.waiting, {}
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionLost(f"{process.name} ended"))

    # -- clients

    def call(self, name: str, request: Callable[[Node], Coroutine[Any, Any, _T]]) -> "asyncio.Future[_T]":
        """Let `name` work on `request` for a client. Its answer or error; CannotConnect if it does not run;
        ConnectionLost if it ends before it has answered.
        """
        answer: asyncio.Future[_T] = self.loop.create_future()
        process = self.processes.get(name)
        if process is None:
            answer.set_exception(CannotConnect(f"{name} does not run"))
            return answer
        process.waiting[answer] = None

        def begin() -> None:
            if answer.done():
                return
            if process.node is None:
                answer.set_exception(CannotConnect(f"{name} is starting"))
                return
            process.loop.create_task(request(process.node)).add_done_callback(finish)

        def finish(task: "asyncio.Task[_T]") -> None:
            process.waiting.pop(answer, None)
            error = task.exception()
            if answer.done():
                return
            if error is None:
                answer.set_result(task.result())
            else:
                answer.set_exception(error)

        process.loop.call_soon(begin)
        return answer

    # -- looking at it

    def node(self, name: str) -> Node | None:
        """The running node `name`, once it has booted."""
        process = self.processes.get(name)
        return None if process is None else process.node

    def leader(self) -> str | None:
        """Who leads the highest term, of those that run."""
        leaders = [
            (process.node.engine.term, name)
            for name, process in self.processes.items()
            if process.node is not None and process.node.engine.leads
        ]
        return max(leaders)[1] if leaders else None

    def digests(self) -> dict[str, tuple[int, int]]:
        """Name -> (applied index, digest) of every running node."""
        return {
            name: (process.node.machine.applied_index, process.node.machine.digest)
            for name, process in self.processes.items()
            if process.node is not None
        }

    def linked(self) -> bool:
        """Whether each of the first members runs and is connected to all others."""
        transports = [self.processes[name].transport for name in self.first_names if name in self.processes]
        return len(transports) == len(self.first_names) and all(
            transport is not None and all(name == own or transport.peer(name) for name in self.first_names)
            for own, transport in zip(self.first_names, transports, strict=True)
        )

    def converged(self, names: Sequence[str] | None = None) -> bool:
        """Whether all of `names` (the first members) run, and are at one index with one digest."""
        digests = self.digests()
        wanted = self.first_names if names is None else names
        return all(name in digests for name in wanted) and len({digests[name] for name in wanted}) == 1
